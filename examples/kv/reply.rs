use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use headwater::wire;

/// What a command answers.
pub enum Reply {
    Simple(&'static str),
    /// In Redis's words, with their code.
    Error(String),
    Integer(i64),
    Bulk(Bytes),
    Null,
    Array(Vec<Reply>),
    /// In its wire form already; may be empty.
    Raw(Bytes),
}

impl Reply {
    pub const OK: Self = Self::Simple("OK");
    pub const NOTHING: Self = Self::Raw(Bytes::new());

    pub fn text(text: impl Into<String>) -> Self {
        Self::Bulk(text.into().into())
    }

    pub fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).expect("no collection is that large"))
    }

    /// Puts it as RESP2.
    pub fn put_into(&self, out: &mut BytesMut) {
        let line = match self {
            Self::Simple(text) => write!(out, "+{text}\r\n"),
            Self::Error(text) => return wire::put_error(out, text),
            Self::Integer(number) => write!(out, ":{number}\r\n"),
            Self::Bulk(bytes) => {
                let header = write!(out, "${}\r\n", bytes.len());
                out.extend_from_slice(bytes);
                header.and_then(|()| write!(out, "\r\n"))
            }
            Self::Null => write!(out, "$-1\r\n"),
            Self::Array(replies) => {
                let header = write!(out, "*{}\r\n", replies.len());
                replies.iter().for_each(|reply| reply.put_into(out));
                header
            }
            Self::Raw(bytes) => return out.extend_from_slice(bytes),
        };
        line.expect("a buffer that grows takes all that is written");
    }
}
