mod receivers;
mod support;
mod tls;
