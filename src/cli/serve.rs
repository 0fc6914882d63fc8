//! `posthaste serve`: the only place that wires everything.

use std::{fs, num::NonZero, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    runtime::{Handle, Runtime},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Failed, ServeArgs,
    descriptors::Shares,
    endpoints_file, first_key,
    reload::Reloader,
    service_manager,
    signals::{self, Asked, Notices},
};
use crate::{
    api::{
        self, Api, ApiLimits,
        listen::{ListenOptions, Listeners},
    },
    config::{self, Config, Durability, Origin, Problem, Problems, Storage},
    dispatch::{
        Retention, Running, StartOptions,
        audit::{self, asked_by},
        engine::{Engine, EngineOptions},
    },
    domain::{address::AddressRules, attempt_detail::DetailBudget, limits, text},
    runtime::{
        clock::SystemClock,
        folder::{self, Folder},
        machine,
        random::Jitter,
        shortage, space,
        work_pool::WorkPool,
    },
    sender::{Roots, Sender, SenderOptions, roots_from_pem},
    storage::local::index::{Indexes, TableOptions},
    storage::local::journal,
    telemetry::Metrics,
};

/// Verdicts are synced at most this long after they were written.
const LAZY_SYNC: Duration = Duration::from_millis(50);
/// What blocks a thread of a runtime may take so long to end, once everything else has.
const SHUTDOWN: Duration = Duration::from_secs(1);
/// What a server that has failed may take to end, beyond its grace period.
const FAILED_GRACE: Duration = Duration::from_secs(60);
/// Bytes for bodies and endpoints, if nothing is configured: enough for some hundred attempts at the least, and no more
/// than is of use, unless `delivery.max_in_flight` asks for it.
const MEMORY_LEAST: usize = 16 * 1024 * 1024;
const MEMORY_MOST: usize = 128 * 1024 * 1024;
/// How often histogram samples are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Runs the server until it is told to stop.
///
/// # Errors
/// When it cannot start, or something failed that leaves no way on.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = args.config.load()?.config;
    let endpoints = config
        .delivery
        .endpoints_file
        .as_deref()
        .map(endpoints_at)
        .transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let deliveries = delivery_runtime()?;
    let (work, workers) = WorkPool::start().context("cannot start the work pool")?;
    let elsewhere = Elsewhere {
        deliveries: deliveries.handle().clone(),
        work,
    };
    let done = runtime.block_on(serve(args, &config, endpoints, elsewhere));
    runtime.shutdown_timeout(SHUTDOWN);
    deliveries.shutdown_timeout(SHUTDOWN);
    workers.shutdown_timeout(SHUTDOWN);
    done
}

/// Threads beside those of the runtime that answers.
struct Elsewhere {
    deliveries: Handle,
    work: WorkPool,
}

/// Threads for deliveries alone. An attempt is passed on a dozen times, from the scheduler to the socket and back, and a
/// thread that has to be woken for it costs more than what it does then; so there are no more than half the cores.
fn delivery_runtime() -> anyhow::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores / 2).max(1))
        .thread_name("delivery")
        .enable_all()
        .build()
        .context("cannot start the runtime of deliveries")
}

async fn serve(
    args: &ServeArgs,
    config: &Config,
    endpoints: Option<Entries>,
    elsewhere: Elsewhere,
) -> anyhow::Result<()> {
    let asked = Asked::listen()?;
    let notices = Notices::listen()?;
    let metrics = Arc::new(Metrics::install()?);
    let folder = Folder::open(&config.storage.data, Some(&config.storage.key_file))?;
    folder::keep_private();
    if let Some(mode) = folder.open_to_others() {
        tracing::warn!(
            mode = format!("{mode:o}"),
            "others can look into the data directory {}; make it private: chmod o-rwx",
            folder.path().display()
        );
    }
    if config.dev {
        tracing::warn!("development mode: deliveries to loopback and private networks are allowed");
    }
    let shares = Shares::of(config, shortage::raise_descriptor_limit());
    let listeners = api::listen::bind(listen_options(config, shares)).await?;
    let rules = rules(config, &listeners);
    let sender = Sender::new(sender_options(config, rules.clone(), shares)?);
    let options = start_options(config, rules, sender.clone(), elsewhere, shares);
    let mut running = Running::start(folder, options)?;
    let engine = running.engine().clone();
    announce(config, &listeners);
    service_manager::ready().await;

    let mut tasks = JoinSet::new();
    let data = config.storage.data.clone();
    tasks.spawn_blocking(move || space::hold(&data));
    tasks.spawn(upkeep(metrics.clone()));
    tasks.spawn(service_manager::feed_watchdog(engine.clone()));
    if let Some(endpoints) = endpoints {
        tasks.spawn(apply_endpoints(engine.clone(), endpoints));
    }
    if let Some(address) = listeners.tcp_addr() {
        tasks.spawn(first_key::make(
            engine.clone(),
            address,
            config.storage.data.clone(),
        ));
    }
    let reloader = Reloader {
        args: args.config.clone(),
        config: config.clone(),
        engine: engine.clone(),
        sender,
    };
    tasks.spawn(reloader.run(notices));
    let stop = CancellationToken::new();
    let serving = listeners.serve(api::router(api(config, engine, metrics)), stop.clone());
    tokio::pin!(serving);
    let failed = tokio::select! {
        () = &mut serving => Some("the listeners ended".to_owned()),
        reason = running.failed() => Some(reason),
        () = asked.stop.cancelled() => None,
    };
    match &failed {
        None => tracing::info!("stopping"),
        Some(_) => signals::end_after(config.delivery.shutdown_grace.as_duration() + FAILED_GRACE),
    }
    service_manager::stopping().await;
    // Whoever is being answered gets the answer before the journal closes.
    stop.cancel();
    tokio::select! {
        () = &mut serving => {}
        () = asked.hurry.cancelled() => {}
    }
    let stopped = running.stop(asked.hurry).await;
    tasks.shutdown().await;
    match failed {
        Some(reason) => Err(Failed(reason).into()),
        None => Ok(stopped?),
    }
}

fn listen_options(config: &Config, shares: Shares) -> ListenOptions {
    let defaults = ListenOptions::default();
    let body_timeout = config.api.body_timeout.as_duration();
    ListenOptions {
        socket: Some(config.api.socket.clone()),
        socket_mode: config.api.socket_mode.bits(),
        tcp: config.api.listen.address(),
        max_connections: shares.connections,
        header_timeout: config.api.header_timeout.as_duration(),
        body_timeout,
        body_idle_timeout: body_timeout.min(defaults.body_idle_timeout),
        ..defaults
    }
}

/// What may be called: never our own listener, loopback and private networks only in development.
fn rules(config: &Config, listeners: &Listeners) -> AddressRules {
    let mut rules = if config.dev {
        AddressRules::dev()
    } else {
        AddressRules::default()
    };
    rules.allow.extend(config.delivery.allow_networks.iter().copied());
    rules.deny.extend(config.delivery.deny_networks.iter().copied());
    rules.deny_endpoint.extend(listeners.tcp_addr());
    rules
}

fn sender_options(config: &Config, rules: AddressRules, shares: Shares) -> anyhow::Result<SenderOptions> {
    Ok(SenderOptions {
        rules,
        require_https: config.delivery.require_https,
        connect_timeout: config.delivery.connect_timeout.as_duration(),
        max_connection_age: config.delivery.max_connection_age.as_duration(),
        extra_roots: extra_roots(config)?,
        max_idle: shares.kept,
        proxy: config.delivery.proxy.clone(),
        detail: attempt_detail(config),
        ..SenderOptions::default()
    })
}

/// How much is kept of an attempt.
fn attempt_detail(config: &Config) -> DetailBudget {
    DetailBudget::new(config.storage.attempt_detail_bytes.as_usize())
}

/// The certificates of `delivery.ca_file`.
pub(super) fn extra_roots(config: &Config) -> anyhow::Result<Roots> {
    let Some(path) = &config.delivery.ca_file else {
        return Ok(Roots::default());
    };
    let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    roots_from_pem(text::without_mark(&pem)).with_context(|| format!("cannot use {}", path.display()))
}

fn start_options(
    config: &Config,
    rules: AddressRules,
    sender: Sender,
    elsewhere: Elsewhere,
    shares: Shares,
) -> StartOptions {
    let durability = match config.storage.durability {
        Durability::Fsync => journal::Durability::Fsync,
        Durability::Os => journal::Durability::Os,
    };
    StartOptions {
        engine: EngineOptions {
            durability,
            concurrency: config.delivery.concurrency,
            timeout: config.delivery.timeout.as_duration(),
            max_in_flight: shares.attempts,
            breaker_after: config.delivery.breaker_after,
            overdue_after: config.delivery.overdue_after.as_duration(),
            shutdown_grace: config.delivery.shutdown_grace.as_duration(),
            idempotency_window: config.storage.idempotency_window.as_duration(),
            retention: retention(config),
            max_endpoints: config.limits.endpoints as usize,
            memory: memory(config),
            encoded_limit: config
                .limits
                .payload
                .as_usize()
                .saturating_mul(limits::ENCODED_TIMES),
            attempt_detail: attempt_detail(config),
            profiles: config.profiles.clone(),
            rules,
            require_https: config.delivery.require_https,
            cloudevents_source: config.delivery.cloudevents_source.as_str().to_owned(),
            origin: origin(config),
        },
        journal: journal::Options {
            durability,
            segment_bytes: config.storage.segment_bytes.as_bytes(),
            min_free_bytes: config.storage.min_free_bytes.as_bytes(),
            lazy_sync: LAZY_SYNC,
            ..journal::Options::new(journal_folder(&config.storage.data))
        },
        store: store_options(&config.storage),
        store_rewrite_bytes: config.storage.store_rewrite_bytes.as_bytes(),
        clock: Arc::new(SystemClock),
        jitter: Jitter::new(),
        sender,
        work: elsewhere.work,
        deliveries: Some(elsewhere.deliveries),
    }
}

/// How the store is kept.
pub(super) const fn store_options(storage: &Storage) -> TableOptions {
    TableOptions {
        cache_bytes: storage.store_cache_bytes.as_bytes(),
        buffer_bytes: storage.store_buffer_bytes.as_bytes(),
        indexes: match storage.indexes {
            config::Indexes::All => Indexes::All,
            config::Indexes::Essential => Indexes::Essential,
        },
    }
}

fn retention(config: &Config) -> Retention {
    let storage = &config.storage;
    Retention {
        events: storage.retention.as_duration(),
        attempts: storage.attempt_retention.as_duration(),
        audit: storage.audit_retention.as_duration(),
        minutes: storage.rollup_retention.as_duration().min(limits::ROLLUP_MINUTES),
        hours: storage.rollup_retention.as_duration(),
        max_journal_bytes: storage.max_journal_bytes.as_bytes(),
        max_held_bytes: storage.max_held_bytes.as_bytes(),
    }
}

/// Bytes for bodies and endpoints: what is configured, or an eighth of what there is.
fn memory(config: &Config) -> usize {
    let configured = config.limits.memory.as_usize();
    if configured > 0 {
        return configured;
    }
    let most = MEMORY_MOST.max(config.delivery.max_in_flight as usize * 2 * limits::ATTEMPT_BYTES);
    let part = machine::memory().map_or(MEMORY_MOST, |bytes| usize::try_from(bytes / 8).unwrap_or(most));
    part.clamp(MEMORY_LEAST, most)
}

/// The name by which receivers grant us to send to them.
fn origin(config: &Config) -> String {
    let machine = rustix::system::uname();
    let host = machine.nodename().to_string_lossy();
    config.delivery.origin.or(&host).to_owned()
}

/// The journal's folder below the data folder.
pub(super) fn journal_folder(data: &Path) -> std::path::PathBuf {
    data.join("journal")
}

fn api(config: &Config, engine: Engine, metrics: Arc<Metrics>) -> Api {
    let measured = engine.clone();
    Api {
        engine,
        limits: ApiLimits {
            payload: config.limits.payload.as_usize(),
            batch_lines: config.limits.batch_lines as usize,
            batch_bytes: config.limits.batch_bytes.as_usize(),
        },
        render_metrics: Arc::new(move || {
            measured.measure();
            metrics.render()
        }),
    }
}

/// Says where it listens.
fn announce(config: &Config, listeners: &Listeners) {
    tracing::info!(socket = %config.api.socket.display(), "listening");
    if let Some(address) = listeners.tcp_addr() {
        tracing::info!(%address, "listening");
    }
}

pub(super) type Entries = Vec<serde_json::Map<String, serde_json::Value>>;

/// The entries of `delivery.endpoints_file`. A file that cannot be used is a configuration that does not hold.
pub(super) fn endpoints_at(path: &Path) -> Result<Entries, Problems> {
    endpoints_file::read(path).map_err(|error| {
        let origin = Origin::File {
            path: path.to_owned(),
            line: None,
        };
        Problems::of(Problem::new(
            &origin,
            format!("delivery.endpoints_file: {error:#}"),
        ))
    })
}

/// How a warning of these begins; it goes when the entries are applied later.
const NOT_APPLIED: &str = "delivery.endpoints_file was not applied: ";

/// Applies the entries as soon as the store has caught up. What they say wrong is told, and stops no delivery.
pub(super) async fn apply_endpoints(engine: Engine, entries: Entries) {
    engine.caught_up().await;
    let asked = audit::Asked {
        actor: "delivery.endpoints_file".to_owned(),
        from: "configuration".to_owned(),
        reason: None,
    };
    let applied = asked_by(asked, engine.apply_endpoints(entries, false, false)).await;
    engine.retract_warnings(NOT_APPLIED);
    match applied {
        Ok(applied) => {
            for warning in &applied.warnings {
                tracing::warn!("delivery.endpoints_file: {warning}");
            }
            tracing::info!(
                created = applied.created.len(),
                changed = applied.changed.len(),
                unchanged = applied.unchanged,
                "applied delivery.endpoints_file"
            );
        }
        Err(error) => {
            let text = format!("{NOT_APPLIED}{error}");
            tracing::error!("{text}");
            engine.warn(text);
        }
    }
}

async fn upkeep(metrics: Arc<Metrics>) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.upkeep();
    }
}
