use headwater::{Config, OutputLimit};

use crate::chart::Chart;
use crate::options::Parameter;
use crate::table::{Table, megabytes};
use crate::{crash, partition, spiral, stall};

/// One way to lose data, or to stop.
pub trait Scenario {
    /// As on the command line.
    fn name(&self) -> &'static str;

    fn title(&self) -> &'static str;

    fn parameters(&mut self) -> Vec<Parameter<'_>>;

    /// Whether the parameters go together; else what to do about it.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn run(&self) -> Account;
}

/// What came of a scenario.
pub struct Account {
    pub table: Table,
    /// Below the table.
    pub notes: Vec<String>,
    pub charts: Vec<Chart>,
}

pub const SCENARIOS: [fn() -> Box<dyn Scenario>; 4] = [
    || Box::new(crash::Crash::default()),
    || Box::new(partition::Partition::default()),
    || Box::new(spiral::Spiral::default()),
    || Box::new(stall::Stall::default()),
];

/// The output limit as it acts.
pub fn effective(config: &Config) -> OutputLimit {
    config.output_limit.beside(config.backlog_capacity)
}

pub fn describe_limit(config: &Config) -> String {
    let OutputLimit { hard, soft } = effective(config);
    let hard = hard.map_or("none".to_owned(), megabytes);
    let soft = soft.map(|soft| format!(", or {} for {} s", megabytes(soft.bytes), soft.lasting.as_secs()));
    let backlog = megabytes(config.backlog_capacity as u64);
    format!("{hard}{} (backlog {backlog})", soft.unwrap_or_default())
}

/// The limits as they act, for a chart: the hard one first.
pub fn limits(config: &Config) -> Vec<(String, u64)> {
    let OutputLimit { hard, soft } = effective(config);
    let line = |name: &str, bytes: u64| (format!("{name} limit: {}", megabytes(bytes)), bytes);
    let hard = hard.map(|hard| line("hard", hard));
    let soft = soft.map(|soft| line(&format!("{} s at the soft", soft.lasting.as_secs()), soft.bytes));
    hard.into_iter().chain(soft).collect()
}
