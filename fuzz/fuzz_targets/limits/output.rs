//! The setting `client-output-buffer-limit`.

use std::num::NonZeroU64;
use std::time::Duration;

use arbitrary::Arbitrary;
use headwater::wire::{self, ClientLimits, LimitsError};
use headwater::{OutputLimit, SoftLimit};

/// Words that mean something, and others.
#[derive(Arbitrary, Debug)]
pub(crate) enum Word {
    Class(Class),
    Size(u64, Unit),
    Seconds(u64),
    Text(String),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Class {
    Normal,
    Replica,
    Slave,
    Pubsub,
    Master,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Unit {
    B,
    K,
    Kb,
    M,
    Mb,
    G,
    Gb,
}

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Class(class) => format!("{class:?}"),
            Self::Size(number, unit) => format!("{number}{unit:?}"),
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// One that can act.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Limit {
    hard: Option<NonZeroU64>,
    soft: Option<(NonZeroU64, Duration)>,
}

impl Limit {
    fn limit(self) -> OutputLimit {
        let hard = self.hard.map(NonZeroU64::get);
        let soft = self.soft.map(|(bytes, lasting)| {
            let bytes = hard.map_or(bytes.get(), |hard| 1 + (bytes.get() - 1) % hard);
            SoftLimit { bytes, lasting }
        });
        OutputLimit { hard, soft }
    }
}

/// R118 to R121.
pub(crate) fn check_setting(words: &[Word]) {
    let text = words.iter().map(Word::text).collect::<Vec<_>>().join(" ");
    text.split_whitespace().for_each(|word| assert_eq!(wire::memory_size(word), size(word)));
    let before = ClientLimits::default();
    let mut limits = before;
    let result = limits.set(&text);
    let expected = read(&text);
    assert_eq!(result.as_ref().map(|()| limits), expected.as_ref().copied());
    if result.is_ok() {
        assert_eq!(read_again(&limits), limits);
    } else {
        assert_eq!(limits, before, "an error changed the limits");
    }
}

/// Parts of a second count as a whole one.
pub(crate) fn check_limits(limits: [Limit; 3]) {
    let [normal, replica, pubsub] = limits.map(Limit::limit);
    let limits = ClientLimits { normal, replica, pubsub };
    let [normal, replica, pubsub] = [normal, replica, pubsub].map(|limit| OutputLimit {
        soft: limit.soft.map(|soft| SoftLimit { lasting: round_up(soft.lasting), ..soft }),
        ..limit
    });
    assert_eq!(read_again(&limits), ClientLimits { normal, replica, pubsub });
}

fn round_up(span: Duration) -> Duration {
    let nanos = span.as_nanos().div_ceil(1_000_000_000);
    Duration::from_secs(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn read_again(limits: &ClientLimits) -> ClientLimits {
    let mut again = ClientLimits::default();
    again.set(&limits.to_string()).expect("what is shown is read");
    again
}

fn read(text: &str) -> Result<ClientLimits, LimitsError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() % 4 != 0 {
        return Err(LimitsError::WordCount { words: words.len() });
    }
    let mut limits = ClientLimits::default();
    for setting in words.chunks(4) {
        let limit = match &*setting[0].to_ascii_lowercase() {
            "normal" => &mut limits.normal,
            "slave" | "replica" => &mut limits.replica,
            "pubsub" => &mut limits.pubsub,
            _ => return Err(LimitsError::UnknownClass { class: excerpt(setting[0]) }),
        };
        *limit = read_limit(setting[1], setting[2], setting[3])?;
    }
    Ok(limits)
}

fn read_limit(hard: &str, soft: &str, seconds: &str) -> Result<OutputLimit, LimitsError> {
    let bad = |word| LimitsError::BadSetting { word: excerpt(word) };
    let hard = size(hard).ok_or_else(|| bad(hard))?;
    let soft = size(soft).ok_or_else(|| bad(soft))?;
    let lasting = decimal(seconds).map(Duration::from_secs).ok_or_else(|| bad(seconds))?;
    if hard != 0 && hard < soft {
        return Err(LimitsError::SoftAboveHard { soft, hard });
    }
    let soft = if soft == 0 { None } else { Some(SoftLimit { bytes: soft, lasting }) };
    Ok(OutputLimit { hard: if hard == 0 { None } else { Some(hard) }, soft })
}

fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (digits, factor) =
        UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    u64::try_from(u128::from(decimal(digits)?) * factor).ok()
}

fn decimal(text: &str) -> Option<u64> {
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// The longer ones first: each but the first few ends as another does.
const UNITS: [(&str, u128); 8] = [
    ("kb", 1 << 10),
    ("mb", 1 << 20),
    ("gb", 1 << 30),
    ("b", 1),
    ("k", 1000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("", 1),
];

fn excerpt(word: &str) -> String {
    word.as_bytes().iter().take(128).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}
