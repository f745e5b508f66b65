mod svg;

use std::time::Duration;

use headwater::{DropReason, OverLimit};

use crate::world::{News, Sample, World};

pub use svg::draw;

/// What a run looked like over time.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    until: Duration,
    panels: Vec<Panel>,
    gate: Option<Gate>,
    marks: Vec<(Duration, String)>,
}

#[derive(Clone, Debug)]
struct Gate {
    /// Whose it is.
    name: &'static str,
    /// When it was open and when not, from the first moment on.
    turns: Vec<(Duration, bool)>,
}

/// Lines over one axis of bytes.
#[derive(Clone, Debug)]
struct Panel {
    axis: &'static str,
    height: f64,
    lines: Vec<Line>,
    /// The hard one, then the soft one.
    limits: Vec<(String, u64)>,
    shade: Option<Shade>,
}

#[derive(Clone, Debug)]
struct Line {
    name: String,
    /// The host's number: it has the same colour in all panels.
    host: usize,
    points: Vec<(Duration, Option<u64>)>,
}

/// What is lost: all that a line has above a level, until some moment.
#[derive(Clone, Debug)]
pub struct Shade {
    /// Which of the panel's lines.
    pub line: usize,
    pub above: u64,
    pub until: Duration,
    pub name: String,
}

impl Chart {
    pub fn new(title: &str, until: Duration) -> Self {
        Self { title: title.to_owned(), until, panels: Vec::new(), gate: None, marks: Vec::new() }
    }

    /// How far each of these hosts holds the stream.
    pub fn add_offsets(&mut self, world: &World, hosts: &[usize]) {
        let line = |host: &usize| {
            let name = format!("{}: offset", world.hosts[*host].name);
            let points = world.trace.samples.iter().map(|sample| (at(sample), sample.offsets[*host]));
            Line { name, host: *host, points: points.collect() }
        };
        let lines = hosts.iter().map(line).collect();
        self.panels.push(Panel { axis: "offset", height: 190.0, lines, limits: Vec::new(), shade: None });
    }

    /// What waits to be sent to each of these hosts, against limits.
    pub fn add_unsent(&mut self, world: &World, hosts: &[usize], limits: Vec<(String, u64)>) {
        let line = |host: &usize| {
            let samples = world.trace.samples.iter();
            let mut points: Vec<_> =
                samples.map(|sample| (at(sample), Some(sample.behind[*host].unsent))).collect();
            points.extend(peaks(world));
            points.sort_by_key(|(at, _)| *at);
            Line { name: format!("waits for {}", world.hosts[*host].name), host: *host, points }
        };
        let lines = hosts.iter().map(line).collect();
        self.panels.push(Panel { axis: "unsent", height: 120.0, lines, limits, shade: None });
    }

    /// What a host has not acknowledged, as long as its primary is there, against limits. What waits to be sent is a
    /// part of it.
    pub fn add_unacked(&mut self, world: &World, host: usize, primary: usize, limits: Vec<(String, u64)>) {
        let unacked = |sample: &Sample| sample.offsets[primary].map(|_| sample.behind[host].unacked);
        let points = world.trace.samples.iter().map(|sample| (at(sample), unacked(sample))).collect();
        let line = Line { name: format!("{} has not acknowledged", world.hosts[host].name), host, points };
        self.panels.push(Panel { axis: "unacked", height: 100.0, lines: vec![line], limits, shade: None });
    }

    /// Shades what is lost of an offset.
    pub fn shade(&mut self, shade: Shade) {
        if let Some(panel) = self.panels.first_mut() {
            panel.shade = Some(shade);
        }
    }

    /// When a host's gate was open, while it led.
    pub fn add_gate(&mut self, world: &World, host: usize) {
        let turns = world.hosts[host].news.iter().filter_map(|(at, news)| match news {
            News::GateClosed | News::Follows => Some((at.since_origin(), false)),
            News::GateOpened => Some((at.since_origin(), true)),
            _ => None,
        });
        let turns: Vec<_> = turns.collect();
        let first = turns.first().is_none_or(|(_, opens)| !opens);
        let turns = [(Duration::ZERO, first)].into_iter().chain(turns).collect();
        self.gate = Some(Gate { name: world.hosts[host].name, turns });
    }

    pub fn mark(&mut self, at: Duration, what: &str) {
        self.marks.push((at, what.to_owned()));
    }
}

impl Panel {
    /// What the axis has to reach: the lines, and the limits that are not so far above them that these would lie flat.
    fn highest(&self) -> u64 {
        let lines = self.lines.iter().filter_map(Line::highest).max().unwrap_or(0);
        let limits = self.limits.iter().map(|(_, bytes)| *bytes);
        limits.filter(|bytes| *bytes / 4 <= lines).fold(lines, u64::max)
    }
}

impl Line {
    fn highest(&self) -> Option<u64> {
        self.points.iter().filter_map(|(_, bytes)| *bytes).max()
    }
}

/// A replica is dropped between two samples: what had waited for it then, and nothing from then on.
fn peaks(world: &World) -> impl Iterator<Item = (Duration, Option<u64>)> {
    let news = world.hosts.iter().flat_map(|host| &host.news);
    let peaks = news.filter_map(|(at, news)| match news {
        News::Dropped(DropReason::OverLimit(OverLimit::Hard { unsent, .. })) => {
            Some((at.since_origin(), *unsent))
        }
        _ => None,
    });
    peaks.flat_map(|(at, unsent)| [(at, Some(unsent)), (at, Some(0))])
}

fn at(sample: &Sample) -> Duration {
    sample.at.since_origin()
}
