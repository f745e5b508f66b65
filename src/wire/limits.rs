use alloc::string::String;
use core::fmt::{self, Display};
use core::time::Duration;

use super::args::excerpt;
use crate::output::{OutputLimit, SoftLimit};

/// The value of `client-output-buffer-limit`: a limit for each class of clients. Replicas' goes into
/// [`Config::output_limit`](crate::Config::output_limit); the others are the host's to enforce.
///
/// ```
/// use headwater::wire::ClientLimits;
///
/// let mut limits = ClientLimits::default();
/// limits.set("replica 1gb 256mb 300")?;
/// assert_eq!(limits.replica.hard, Some(1 << 30));
/// assert_eq!(limits.to_string(), "normal 0 0 0 slave 1073741824 268435456 300 pubsub 33554432 8388608 60");
/// # Ok::<(), headwater::wire::LimitsError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    /// Clients that are none of the others.
    pub normal: OutputLimit,
    /// Replicas, which Redis calls `slave` when it prints them (R121).
    pub replica: OutputLimit,
    /// Subscribers.
    pub pubsub: OutputLimit,
}

/// What is wrong with a value of `client-output-buffer-limit`, in the words of Redis (R119). Nothing has changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A class, two sizes and a time in seconds are needed, once or several times.
    #[error("Wrong number of arguments in buffer limit configuration.")]
    WordCount {
        /// How many words there were.
        words: usize,
    },
    /// There is no such class, or it can't be limited.
    #[error("Invalid client class specified in buffer limit configuration.")]
    UnknownClass {
        /// What it is, shortened to 128 bytes; what is not printable is escaped.
        class: String,
    },
    /// No size, or no time.
    #[error("Error in hard, soft or soft_seconds setting in buffer limit configuration.")]
    BadSetting {
        /// What it is, shortened and escaped like a class.
        word: String,
    },
    /// A soft limit above the hard one would never act. Redis takes it.
    #[error("Error in hard, soft or soft_seconds setting in buffer limit configuration.")]
    SoftAboveHard {
        /// Bytes.
        soft: u64,
        /// Bytes.
        hard: u64,
    },
}

impl Default for ClientLimits {
    /// R122.
    fn default() -> Self {
        let subscribers = SoftLimit { bytes: 8 << 20, lasting: Duration::from_secs(60) };
        Self {
            normal: OutputLimit { hard: None, soft: None },
            replica: OutputLimit::default(),
            pubsub: OutputLimit { hard: Some(32 << 20), soft: Some(subscribers) },
        }
    }
}

impl ClientLimits {
    /// Reads `<class> <hard> <soft> <soft-seconds>`, once or several times. Classes that are not named keep theirs
    /// (R118); a size of 0 is no limit, and the soft one then has no time either.
    ///
    /// # Errors
    ///
    /// [`LimitsError`] for the first word that is wrong.
    pub fn set(&mut self, value: &str) -> Result<(), LimitsError> {
        let words = value.split_whitespace().count();
        if !words.is_multiple_of(4) {
            return Err(LimitsError::WordCount { words });
        }
        let mut limits = *self;
        let mut words = value.split_whitespace();
        while let (Some(class), Some(hard), Some(soft), Some(seconds)) =
            (words.next(), words.next(), words.next(), words.next())
        {
            // The class first: of two wrong words the first is told.
            let limit = limits.class_mut(class)?;
            *limit = read_limit(hard, soft, seconds)?;
        }
        *self = limits;
        Ok(())
    }

    fn class_mut(&mut self, class: &str) -> Result<&mut OutputLimit, LimitsError> {
        let is = |name| class.eq_ignore_ascii_case(name);
        Ok(match () {
            () if is("normal") => &mut self.normal,
            () if is("replica") || is("slave") => &mut self.replica,
            () if is("pubsub") => &mut self.pubsub,
            () => return Err(LimitsError::UnknownClass { class: excerpt(class.as_bytes()) }),
        })
    }
}

impl Display for ClientLimits {
    /// All classes in one line, sizes in bytes (R121). Parts of a second count as a whole one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [normal, replica, pubsub] = [self.normal, self.replica, self.pubsub].map(Words);
        write!(f, "normal {normal} slave {replica} pubsub {pubsub}")
    }
}

struct Words(OutputLimit);

impl Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutputLimit { hard, soft } = self.0;
        let (bytes, seconds) = soft.map_or((0, 0), |soft| (soft.bytes, whole_seconds(soft.lasting)));
        write!(f, "{} {bytes} {seconds}", hard.unwrap_or(0))
    }
}

/// Reads a size in bytes as Redis's settings have it: a decimal, and perhaps a unit of either case, where `k` is 1000
/// and `kb` is 1024 (R120). `None` for anything else, and above 64 bits.
pub fn memory_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name))?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

fn read_limit(hard: &str, soft: &str, seconds: &str) -> Result<OutputLimit, LimitsError> {
    let bad = |word: &str| LimitsError::BadSetting { word: excerpt(word.as_bytes()) };
    let [hard, soft] = [hard, soft].map(|word| memory_size(word).ok_or_else(|| bad(word)));
    let (hard, soft) = (hard?, soft?);
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let lasting = seconds.parse().ok().filter(|_| is_number).ok_or_else(|| bad(seconds))?;
    if hard > 0 && soft > hard {
        return Err(LimitsError::SoftAboveHard { soft, hard });
    }
    let lasting = Duration::from_secs(lasting);
    Ok(OutputLimit {
        hard: (hard > 0).then_some(hard),
        soft: (soft > 0).then_some(SoftLimit { bytes: soft, lasting }),
    })
}

fn whole_seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

const UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1 << 30),
];

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const DEFAULTS: &str = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";

    fn soft(bytes: u64, seconds: u64) -> Option<SoftLimit> {
        Some(SoftLimit { bytes, lasting: Duration::from_secs(seconds) })
    }

    /// R121, R122.
    #[test]
    fn the_defaults_are_those_of_redis() {
        assert_eq!(ClientLimits::default().to_string(), DEFAULTS);
    }

    /// R118, T41: several classes in one value, either name for replicas, and the rest as it was.
    #[test]
    fn a_value_changes_the_classes_that_it_names() {
        let mut limits = ClientLimits::default();
        limits.set("REPLICA 1gb 256mb 300 normal 5k 0 9").unwrap();
        assert_eq!(limits.replica, OutputLimit { hard: Some(1 << 30), soft: soft(256 << 20, 300) });
        assert_eq!(limits.normal, OutputLimit { hard: Some(5000), soft: None });
        assert_eq!(limits.pubsub, ClientLimits::default().pubsub);
        limits.set("slave 7 7 7").unwrap();
        assert_eq!(limits.replica, OutputLimit { hard: Some(7), soft: soft(7, 7) });
        limits.set("slave 0 7 0").unwrap();
        assert_eq!(
            limits.replica,
            OutputLimit { hard: None, soft: soft(7, 0) },
            "R124: it still takes a moment"
        );
        limits.set("").unwrap();
        assert_eq!(limits.replica.soft, soft(7, 0));
    }

    /// R119, T41.
    #[test]
    fn a_wrong_value_is_told_in_the_words_of_redis_and_changes_nothing() {
        let (count, class) = ("Wrong number of arguments", "Invalid client class");
        let setting = "Error in hard, soft or soft_seconds setting";
        for (value, start) in [
            ("replica", count),
            ("replica 1mb 1mb", count),
            ("replica 1mb 1mb 60 normal", count),
            ("wrong 1mb 1mb 60", class),
            ("master 1mb 1mb 60", class),
            ("wrong x 1mb 60", class),
            ("replica 1mbs 1mb 60", setting),
            ("replica 1mb zzz 60", setting),
            ("replica 1mb 1mb 60s", setting),
            ("replica 1mb 1mb -1", setting),
            ("replica 1mb 1mb +1", setting),
            ("replica -1 1mb 60", setting),
            ("replica 1mb 2mb 60", setting),
            ("replica 99999999999999999999 0 0", setting),
            ("normal 1mb 1mb 60 replica 1mb x 60", setting),
        ] {
            let mut limits = ClientLimits::default();
            let text = limits.set(value).unwrap_err().to_string();
            assert!(
                text.starts_with(start) && text.ends_with(" in buffer limit configuration."),
                "{value}: {text}"
            );
            assert_eq!(limits, ClientLimits::default(), "{value}");
        }
    }

    /// R120.
    #[test]
    fn sizes_have_units_of_two_kinds() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("17B", Some(17)),
            ("2k", Some(2000)),
            ("2Kb", Some(2048)),
            ("3m", Some(3_000_000)),
            ("3MB", Some(3 << 20)),
            ("1g", Some(1_000_000_000)),
            ("1gB", Some(1 << 30)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("17179869184gb", None),
            ("", None),
            ("kb", None),
            ("-1", None),
            ("+1", None),
            ("1 k", None),
            ("1tb", None),
            ("1.5g", None),
        ] {
            assert_eq!(memory_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn part_of_a_second_is_told_as_a_whole_one() {
        let mut limits = ClientLimits::default();
        limits.replica.soft = Some(SoftLimit { bytes: 5, lasting: Duration::from_millis(1001) });
        assert!(limits.to_string().contains("slave 268435456 5 2 "));
    }

    fn limit() -> impl Strategy<Value = OutputLimit> {
        let limits = (proptest::option::of(1000..u64::MAX), proptest::option::of((1..1000u64, 0..100u64)));
        limits.prop_map(|(hard, other)| OutputLimit {
            hard,
            soft: other.and_then(|(bytes, seconds)| soft(bytes, seconds)),
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(normal in limit(), replica in limit(), pubsub in limit()) {
            let limits = ClientLimits { normal, replica, pubsub };
            let mut read = ClientLimits::default();
            read.set(&limits.to_string()).unwrap();
            prop_assert_eq!(read, limits);
        }

        #[test]
        fn an_error_changes_nothing(value in "(replica|normal|slave|x)?( [0-9]{0,3}(k|mb|x)?){0,7}") {
            let mut limits = ClientLimits::default();
            if limits.set(&value).is_err() {
                prop_assert_eq!(limits, ClientLimits::default());
            }
        }
    }
}
