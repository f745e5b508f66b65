use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::{Chart, Gate, Line, Panel, Shade};

/// Draws charts below each other, as one picture.
pub fn draw(title: &str, charts: &[Chart]) -> String {
    let mut canvas = Canvas::default();
    canvas.text((LEFT, 26.0), title, "class='title'");
    let mut top = 44.0;
    for chart in charts {
        top = draw_chart(&mut canvas, chart, top);
    }
    canvas.finish(top)
}

/// Draws a chart from `top` on. Tells where it ends.
fn draw_chart(canvas: &mut Canvas, chart: &Chart, top: f64) -> f64 {
    let time = Scale::new(chart.until.as_secs_f64(), (LEFT, LEFT + WIDTH));
    canvas.text((LEFT, top + 14.0), &chart.title, "class='head'");
    let plot = top + 26.0 + ROW * chart.marks.len() as f64;
    let mut bottom = plot;
    for (index, panel) in chart.panels.iter().enumerate() {
        if index > 0 {
            bottom += GAP;
        }
        draw_panel(canvas, panel, &time, bottom);
        bottom += panel.height;
        if let (0, Some(gate)) = (index, &chart.gate) {
            bottom += GAP / 2.0;
            draw_gate(canvas, gate, &time, bottom);
            bottom += STRIP;
        }
    }
    draw_marks(canvas, &chart.marks, &time, (top + 26.0, bottom));
    draw_time(canvas, &time, bottom);
    bottom + 62.0
}

fn draw_panel(canvas: &mut Canvas, panel: &Panel, time: &Scale, top: f64) {
    let bottom = top + panel.height;
    let highest = panel.highest();
    let (unit, name) = if highest >= 1_000_000 { (1e6, "MB") } else { (1e3, "kB") };
    let scale = Scale::new((highest.max(1) as f64) / unit * 1.06, (bottom, top));
    for tick in scale.ticks(panel.height / 36.0) {
        let y = scale.place(tick);
        canvas.line((LEFT, y), (LEFT + WIDTH, y), "class='grid'");
        canvas.text((LEFT - 8.0, y + 4.0), tick, "text-anchor='end'");
    }
    canvas.upright((LEFT - 58.0, f64::midpoint(top, bottom)), &format!("{} ({name})", panel.axis));
    let place =
        |(at, bytes): (Duration, u64)| (time.place(at.as_secs_f64()), scale.place(bytes as f64 / unit));
    let mut legend = Legend { top };
    for line in &panel.lines {
        let style = stroke(line.host, panel.lines.len() == 1);
        draw_line(canvas, line, &style, &place);
        let never = if line.highest().is_none() { ", never in step" } else { "" };
        legend.line(canvas, &format!("{}{never}", line.name), &style);
    }
    for ((name, bytes), style) in panel.limits.iter().zip(LIMITS) {
        if *bytes > highest {
            legend.name(canvas, &format!("{name} (above)"));
            continue;
        }
        let (_, y) = place((Duration::ZERO, *bytes));
        canvas.line((LEFT, y), (LEFT + WIDTH, y), style);
        legend.line(canvas, name, style);
    }
    if let Some(shade) = &panel.shade {
        draw_shade(canvas, shade, &panel.lines[shade.line], &place);
        legend.area(canvas, &shade.name);
    }
    canvas.line((LEFT, top), (LEFT, bottom), "class='axis'");
    canvas.line((LEFT, bottom), (LEFT + WIDTH, bottom), "class='axis'");
}

fn draw_line(canvas: &mut Canvas, line: &Line, style: &str, place: &impl Fn((Duration, u64)) -> (f64, f64)) {
    let (mut path, mut pen) = (String::new(), "M");
    for (at, bytes) in &line.points {
        let Some(bytes) = bytes else {
            pen = "M";
            continue;
        };
        let (x, y) = place((*at, *bytes));
        let _ = write!(path, "{pen}{x:.1} {y:.1}");
        pen = "L";
    }
    canvas.path(&path, &format!("fill='none' {style}"));
}

/// What the line has above the level.
fn draw_shade(
    canvas: &mut Canvas,
    shade: &Shade,
    line: &Line,
    place: &impl Fn((Duration, u64)) -> (f64, f64),
) {
    let above = |(at, bytes): &(Duration, Option<u64>)| {
        bytes.filter(|bytes| *at <= shade.until && *bytes > shade.above).map(|bytes| (*at, bytes))
    };
    let points: Vec<_> = line.points.iter().filter_map(above).collect();
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return };
    let mut path = String::new();
    let corners = [(*first, shade.above)].into_iter().chain(points.iter().copied());
    for (index, point) in corners.chain([(*last, shade.above)]).enumerate() {
        let (x, y) = place(point);
        let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
    }
    canvas.path(&(path + "Z"), LOST);
}

fn draw_gate(canvas: &mut Canvas, gate: &Gate, time: &Scale, top: f64) {
    let Gate { name, turns } = gate;
    let ends = turns.iter().skip(1).map(|(at, _)| at.as_secs_f64()).chain([time.most]);
    for ((from, is_open), end) in turns.iter().zip(ends) {
        let (from, end) = (time.place(from.as_secs_f64()), time.place(end));
        let class = if *is_open { "open" } else { "closed" };
        canvas.rect((from, top), (end - from, STRIP), &format!("class='{class}'"));
        if end - from > 60.0 {
            let middle = (f64::midpoint(from, end), top + STRIP - 5.0);
            canvas.text(middle, class, &format!("text-anchor='middle' class='{class}-text'"));
        }
    }
    canvas.text((LEFT - 8.0, top + STRIP - 5.0), "gate", "text-anchor='end'");
    let legend = (LEFT + WIDTH + 18.0, top + STRIP - 5.0);
    canvas.text(legend, format!("whether the {name} lets writes in"), "");
}

/// Each has its name in a row of its own, so that none covers another.
fn draw_marks(canvas: &mut Canvas, marks: &[(Duration, String)], time: &Scale, (top, bottom): (f64, f64)) {
    for (row, (at, what)) in marks.iter().enumerate() {
        let (x, y) = (time.place(at.as_secs_f64()), top + ROW * row as f64);
        canvas.line((x, y), (x, bottom), "class='mark'");
        let is_late = x > LEFT + WIDTH * 0.6;
        let (x, anchor) = if is_late { (x - 5.0, "end") } else { (x + 5.0, "start") };
        canvas.text((x, y + 9.0), what, &format!("text-anchor='{anchor}' class='small'"));
    }
}

fn draw_time(canvas: &mut Canvas, time: &Scale, bottom: f64) {
    for tick in time.ticks(8.0) {
        let x = time.place(tick);
        canvas.line((x, bottom), (x, bottom + 5.0), "class='axis'");
        canvas.text((x, bottom + 18.0), tick, "text-anchor='middle'");
    }
    canvas.text((LEFT + WIDTH / 2.0, bottom + 34.0), "virtual time (s)", "text-anchor='middle'");
}

/// From 0 to `most`, on a stretch of the picture.
struct Scale {
    most: f64,
    span: (f64, f64),
}

impl Scale {
    fn new(most: f64, span: (f64, f64)) -> Self {
        Self { most: most.max(f64::MIN_POSITIVE), span }
    }

    fn place(&self, value: f64) -> f64 {
        self.span.0 + (self.span.1 - self.span.0) * value / self.most
    }

    /// Round numbers, about so many.
    fn ticks(&self, about: f64) -> impl Iterator<Item = f64> + use<> {
        let (rough, most) = (self.most / about, self.most);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].map(|part| part * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        // Whole numbers of steps, so that no error adds up.
        (0..)
            .map(move |index| (f64::from(index) * step * 1e9).round() / 1e9)
            .take_while(move |tick| *tick <= most)
    }
}

/// Beside a panel, line by line.
struct Legend {
    top: f64,
}

impl Legend {
    fn line(&mut self, canvas: &mut Canvas, name: &str, style: &str) {
        let (x, y) = (LEFT + WIDTH + 18.0, self.top + 9.0);
        canvas.line((x, y), (x + 26.0, y), style);
        self.name(canvas, name);
    }

    fn area(&mut self, canvas: &mut Canvas, name: &str) {
        canvas.rect((LEFT + WIDTH + 18.0, self.top + 3.0), (26.0, 12.0), LOST);
        self.name(canvas, name);
    }

    fn name(&mut self, canvas: &mut Canvas, name: &str) {
        canvas.text((LEFT + WIDTH + 52.0, self.top + 13.0), name, "");
        self.top += 20.0;
    }
}

#[derive(Default)]
struct Canvas {
    body: String,
}

impl Canvas {
    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), style: &str) {
        self.add(format!("<line x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}' {style}/>"));
    }

    fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), style: &str) {
        self.add(format!("<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}' {style}/>"));
    }

    fn path(&mut self, path: &str, style: &str) {
        self.add(format!("<path d='{path}' {style}/>"));
    }

    fn text(&mut self, (x, y): (f64, f64), text: impl Display, style: &str) {
        let text = text.to_string().replace('&', "&amp;").replace('<', "&lt;");
        self.add(format!("<text x='{x:.1}' y='{y:.1}' {style}>{text}</text>"));
    }

    /// Read from below.
    fn upright(&mut self, (x, y): (f64, f64), text: &str) {
        let style = format!("text-anchor='middle' transform='rotate(-90 {x:.1} {y:.1})'");
        self.text((x, y), text, &style);
    }

    fn add(&mut self, element: String) {
        self.body += &element;
        self.body.push('\n');
    }

    fn finish(self, height: f64) -> String {
        let width = LEFT + WIDTH + LEGEND;
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' \
             viewBox='0 0 {width} {height}'>\n{STYLE}\
             <rect width='100%' height='100%' fill='#fff'/>\n{}</svg>\n",
            self.body
        )
    }
}

/// Colours that the colour-blind tell apart (Okabe and Ito), and dashes, so that lines on top of each other show.
fn stroke(host: usize, is_alone: bool) -> String {
    let (colour, dashes) = match host % 3 {
        0 => ("#0072b2", "none"),
        1 => ("#d55e00", "7 4"),
        _ => ("#009e73", "2 4"),
    };
    let dashes = if is_alone { "none" } else { dashes };
    format!("stroke='{colour}' stroke-width='2.2' stroke-dasharray='{dashes}'")
}

const LEFT: f64 = 84.0;
const WIDTH: f64 = 620.0;
const LEGEND: f64 = 326.0;
const GAP: f64 = 22.0;
const STRIP: f64 = 18.0;
const ROW: f64 = 16.0;

/// The hard limit, then the soft one.
const LIMITS: [&str; 2] = [
    "stroke='#000' stroke-width='1.4' stroke-dasharray='8 3 2 3'",
    "stroke='#777' stroke-width='1.4' stroke-dasharray='3 3'",
];
const LOST: &str = "fill='url(#lost)' stroke='#cc79a7' stroke-width='1'";

const STYLE: &str = "\
<defs><pattern id='lost' width='6' height='6' patternUnits='userSpaceOnUse' patternTransform='rotate(45)'>
<rect width='6' height='6' fill='#cc79a7' fill-opacity='.35'/><rect width='2' height='6' fill='#a3447d' fill-opacity='.55'/>
</pattern></defs>
<style>
text { font: 12px 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif; fill: #222 }
.title { font-size: 17px; font-weight: bold }
.head { font-size: 14px; font-weight: bold }
.small { font-size: 11px }
.grid { stroke: #ddd }
.axis { stroke: #222 }
.mark { stroke: #555; stroke-dasharray: 3 3 }
.open { fill: #cde8f6 }
.closed { fill: #444 }
.closed-text { fill: #fff }
</style>
";
