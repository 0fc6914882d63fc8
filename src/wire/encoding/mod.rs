//! How a document is written for receivers that do not take JSON.
//!
//! Both encodings read the document as a stream of tokens (`tokens`), so that numbers keep the digits they were
//! written with, members their order, and a name that is there twice stays there twice. Neither can say everything that
//! JSON can: `form` knows no types and no empty lists, `xml` no types. What is lost is said at their heads.

mod ecmascript;
mod form;
#[cfg(test)]
mod property_tests;
mod tokens;
mod xml;

use bytes::Bytes;

pub(super) use self::ecmascript::stringify;
use self::tokens::Tokens;
use super::envelope::Document;
pub use crate::domain::format::Encoding;
use crate::domain::limits;

/// Why a document cannot be written in an encoding.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("the document is not JSON")]
    NotJson(#[from] serde_json::Error),
    #[error("more than {limit} bytes in this encoding")]
    TooLarge { limit: usize },
    #[error("more than {} levels deep", limits::STRINGIFIED_DEPTH)]
    TooDeep,
}

impl Encoding {
    /// Writes a JSON document in this encoding, in at most `limit` bytes; JSON itself stays as it is, byte for byte.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] past the limit; [`EncodeError::NotJson`] when the body is not JSON.
    pub fn encode(self, document: Document, limit: usize) -> Result<Document, EncodeError> {
        let (content_type, body) = match self {
            Self::Json => return Ok(document),
            Self::Form => (form::MEDIA_TYPE, form::write(Tokens::of(&document.body)?, limit)?),
            Self::Xml => (xml::MEDIA_TYPE, xml::write(Tokens::of(&document.body)?, limit)?),
        };
        Ok(Document {
            content_type: Some(content_type.to_owned()),
            // As much memory as it has bytes, and not what it had room for while it grew.
            body: Bytes::from(body.into_boxed_str().into_boxed_bytes()),
            ..document
        })
    }
}

/// What is written so far, if it is not too much.
fn bounded(written: &str, limit: usize) -> Result<(), EncodeError> {
    if written.len() > limit {
        return Err(EncodeError::TooLarge { limit });
    }
    Ok(())
}
