use std::fmt;

use headwater::Timestamp;

/// Figures of several runs, side by side.
#[derive(Debug, Default)]
pub struct Table {
    heads: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    pub fn new(heads: &[&str]) -> Self {
        Self { heads: heads.iter().map(|head| (*head).to_owned()).collect(), rows: Vec::new() }
    }

    pub fn row<R>(&mut self, name: &str, runs: &[R], figure: impl Fn(&R) -> String) {
        self.rows.push((name.to_owned(), runs.iter().map(figure).collect()));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rows.iter().map(|(name, _)| name.chars().count());
        let first = names.max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(column));
            cells.chain(self.heads.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut line = |name: &str, cells: &[String]| {
            write!(f, "  {name:first$}")?;
            for (column, cell) in cells.iter().enumerate() {
                write!(f, "  {cell:>width$}", width = width(column))?;
            }
            writeln!(f)
        };
        line("", &self.heads)?;
        self.rows.iter().try_for_each(|(name, cells)| line(name, cells))
    }
}

/// With commas between the thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// MB are 10^6 bytes.
pub fn megabytes(bytes: u64) -> String {
    if bytes < 100_000 {
        return format!("{} B", count(bytes));
    }
    let tenths = (bytes + 50_000) / 100_000;
    match tenths % 10 {
        0 => format!("{} MB", count(tenths / 10)),
        tenth => format!("{}.{tenth} MB", count(tenths / 10)),
    }
}

/// To the nanosecond, as far as it has any.
pub fn moment(at: Option<Timestamp>) -> String {
    let Some(at) = at else { return "never".to_owned() };
    let text = format!("{:.9}", at.since_origin().as_secs_f64());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}.{:0<3} s", part.trim_end_matches('0'))
}

pub fn yes(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}
