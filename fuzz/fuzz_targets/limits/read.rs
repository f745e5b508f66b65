//! INFO and replies, as whoever monitors a server reads them.

use std::collections::BTreeMap;

/// Names and values that nobody has asked for yet.
pub(crate) struct Lines<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let text = text.strip_suffix("\r\n").expect("each line has its end");
        let lines = text.split("\r\n").filter(|line| !line.starts_with('#')).map(|line| {
            assert!(!line.contains(char::is_control), "{line:?}");
            line.split_once(':').expect("a name and a value")
        });
        let mut all = BTreeMap::new();
        for (name, value) in lines {
            assert_eq!(all.insert(name, value), None, "{name} comes twice");
        }
        Self(all)
    }

    pub(crate) fn word(&mut self, name: &str) -> &'a str {
        self.0.remove(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    pub(crate) fn number(&mut self, name: &str) -> i128 {
        number(self.word(name))
    }

    pub(crate) fn assert_over(&self) {
        assert!(self.0.is_empty(), "nobody knows {:?}", self.0);
    }
}

/// The fields of a line, in order.
pub(crate) fn fields(line: &str, between: char) -> Vec<(&str, &str)> {
    line.split(between).map(|field| field.split_once('=').expect("a name and a value")).collect()
}

pub(crate) fn number(text: &str) -> i128 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    Number(i128),
    Bulk(String),
    Array(Vec<Self>),
}

impl Reply {
    pub(crate) fn bulk(value: impl ToString) -> Self {
        Self::Bulk(value.to_string())
    }

    /// The only one in `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut rest = str::from_utf8(bytes).expect("all of it is text");
        let reply = Self::next(&mut rest);
        assert_eq!(rest, "", "there is one reply");
        reply
    }

    fn next(rest: &mut &str) -> Self {
        let (line, after) = rest.split_once("\r\n").expect("a line");
        *rest = after;
        let (kind, count) = line.split_at(1);
        let count = number(count);
        let size = || usize::try_from(count).expect("small");
        match kind {
            ":" => Self::Number(count),
            "*" => Self::Array((0..size()).map(|_| Self::next(rest)).collect()),
            "$" => {
                let (text, after) = rest.split_at(size());
                *rest = after.strip_prefix("\r\n").expect("the end of a bulk");
                Self::bulk(text)
            }
            kind => panic!("{kind} is no reply"),
        }
    }
}
