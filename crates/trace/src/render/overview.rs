//! The upper part of a picture: time from left to right, both ends, layers, streams, curves.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyport_proto::transfer::units::format_bytes;

use super::canvas::{Anchor, Canvas, MARGIN, RIGHT};
use super::curves::{Curve, curves};
use super::labels::bytes;
use super::model::{Layer, is_alarm};
use super::scale::{Scale, is_content};
use super::streams::streams;
use super::words::{cut, duration, grouped};
use crate::event::{Basis, Event, Side, Time, What};
use crate::recorder::Trace;

/// Arrows of the overview; more would be a surface without lines.
const ARROWS: usize = 400;

/// Streams of HTTP/2 that are drawn; further ones are counted.
const STREAMS: usize = 32;

/// Points of one curve that are drawn.
const POINTS: usize = 400;

/// Where the axis begins.
const LEFT: f64 = 180.0;

/// Heights of a bar and of a curve.
const BAR: f64 = 19.0;
const CURVE: f64 = 46.0;

/// Draws the overview.
pub(super) fn draw(canvas: &mut Canvas, trace: &Trace) {
    let scale = Scale::of(trace, (LEFT, RIGHT));
    let top = canvas.y;
    axis(canvas, &scale);
    ends(canvas, trace, &scale);
    layers(canvas, trace, &scale);
    bars(canvas, trace, &scale);
    measured(canvas, trace, &scale);
    // Over all of it, as they belong to every bar.
    for x in scale.breaks() {
        canvas.line("break", (x, top + 20.0), (x, canvas.y));
    }
    canvas.y += 10.0;
}

fn axis(canvas: &mut Canvas, scale: &Scale) {
    canvas.y += 12.0;
    for piece in &scale.pieces {
        let middle = f64::midpoint(piece.x.0, piece.x.1);
        let text = format!("{}, {}", piece.name, piece.took());
        canvas.text((middle, canvas.y), "small strong", Anchor::Middle, &text);
    }
    canvas.y += 18.0;
    let ticks = scale.ticks();
    for (x, label) in &ticks {
        canvas.text((*x, canvas.y), "small quiet", Anchor::Middle, label);
    }
    canvas.y += 6.0;
    for (x, _) in ticks {
        canvas.line("grid", (x, canvas.y), (x, canvas.y + 6.0));
    }
    canvas.line("base", (LEFT, canvas.y + 6.0), (RIGHT, canvas.y + 6.0));
    canvas.y += 16.0;
}

/// Both ends as lifelines, and what travels between them.
fn ends(canvas: &mut Canvas, trace: &Trace, scale: &Scale) {
    let (client, server) = (canvas.y + 8.0, canvas.y + 92.0);
    canvas.text((MARGIN, client + 4.0), "strong", Anchor::Start, "client");
    canvas.text((MARGIN, server + 4.0), "strong", Anchor::Start, "server");
    let has_segments = trace.events.iter().any(|event| matches!(event.what, What::Segment(_)));
    // Captured segments carry everything else.
    let is_drawn = |event: &&Event| match event.what {
        What::Segment(_) => true,
        What::Connected { .. } => !has_segments,
        What::Content { .. } => event.from.is_some(),
        // What they hold is drawn.
        What::TlsRecords { .. } => event.took.is_none() && !has_segments,
        _ => event.from.is_some() && !has_segments,
    };
    // An unusual event is never left out to keep a usual one.
    let (alarms, usual): (Vec<_>, Vec<_>) =
        trace.events.iter().filter(is_drawn).partition(|event| is_alarm(&event.what));
    let [step, alarm_step] = [&usual, &alarms].map(|of| of.len().div_ceil(ARROWS).max(1));
    let half = trace.samples.iter().find_map(|sample| sample.rtt_us).unwrap_or(0) / 2;
    let between = Between {
        scale,
        client,
        server,
        half: Duration::from_micros(half),
        ours: trace.header.recorded_by,
        labelled: Cell::new(0.0),
    };
    let many = usual.len() > 60;
    for event in usual.iter().step_by(step) {
        between.draw(canvas, event, many);
    }
    for event in alarms.iter().step_by(alarm_step) {
        between.draw(canvas, event, false);
    }
    canvas.line("life", (BEGIN, client), (RIGHT, client));
    canvas.line("life", (BEGIN, server), (RIGHT, server));
    if step > 1 {
        let text = format!("of {} arrows, one of {step} is drawn", grouped(usual.len() as u64));
        canvas.text((RIGHT, server + 16.0), "small quiet", Anchor::End, &text);
    }
    canvas.y = server + 24.0;
}

/// Where the lifelines begin: before the first time, at which something may have been on its way.
const BEGIN: f64 = LEFT - 20.0;

/// The space between the lifelines.
struct Between<'a> {
    scale: &'a Scale,
    client: f64,
    server: f64,
    /// Half a round trip.
    half: Duration,
    /// The end whose times these are.
    ours: Side,
    /// Where the last label ends.
    labelled: Cell<f64>,
}

impl Between<'_> {
    fn draw(&self, canvas: &mut Canvas, event: &Event, is_many: bool) {
        let at = self.scale.x(event.at);
        let end = self.scale.x(Time(event.at.0.saturating_add(event.took.unwrap_or_default().0)));
        let mut class = match (&event.what, Layer::of(&event.what)) {
            _ if is_alarm(&event.what) => "alarm".to_owned(),
            (What::Http2(frame), layer) if frame.stream > 0 => {
                format!("{} stream{}", layer.class(), frame.stream / 2 % 8)
            }
            (_, layer) => layer.class().to_owned(),
        };
        let is_handshake = matches!(event.what, What::Attempt { .. } | What::Connected { .. });
        if event.basis == Basis::Inferred || is_handshake {
            class.push_str(" inferred");
        }
        if is_many {
            class.push_str(" many");
        }
        if matches!(event.what, What::Connected { .. }) {
            self.arrow(canvas, &class, Side::Server, end);
            self.arrow(canvas, &class, Side::Client, end);
        } else if end - at > 3.0 {
            self.band(canvas, &class, event, (at, end));
        } else {
            self.arrow(canvas, &class, event.from.unwrap_or(Side::Client), at);
        }
    }

    /// The time of a flight where it can be seen, and a slant in any case.
    fn slant(&self, x: f64) -> f64 {
        let flight = self.scale.width(self.half, x);
        flight.clamp(6.0, 26.0)
    }

    /// The end that records sent it at this time, or has received it then.
    fn arrow(&self, canvas: &mut Canvas, class: &str, from: Side, x: f64) {
        let (ours, theirs) = match self.ours {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        let slant = self.slant(x);
        let class = format!("{class} thin");
        // The axis has the times of this end only.
        match from == self.ours {
            true => canvas.arrow(&class, (x, ours), ((x + slant).min(RIGHT), theirs)),
            false => canvas.arrow(&class, ((x - slant).max(BEGIN), theirs), (x, ours)),
        }
    }

    /// What took its time: from its first byte to its last one.
    fn band(&self, canvas: &mut Canvas, class: &str, event: &Event, (at, end): (f64, f64)) {
        let slant = match event.from {
            Some(from) if from != self.ours => -self.slant(at),
            _ => self.slant(at),
        };
        let (ours, theirs) = match self.ours {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        let data = format!(
            "M{at:.1} {ours:.1}H{end:.1}L{:.1} {theirs:.1}H{:.1}Z",
            (end + slant).min(RIGHT),
            (at + slant).max(BEGIN)
        );
        canvas.path(&format!("{class} band"), &data);
        let text = format_bytes(bytes(&event.what));
        let middle = f64::midpoint(at, end) + slant / 2.0;
        let half = text.len() as f64 * 4.0;
        if is_content(&event.what) && end - at > half * 2.0 && middle - half > self.labelled.get() {
            self.labelled.set(middle + half);
            let y = f64::midpoint(ours, theirs) + 4.0;
            canvas.text((middle, y), "strong", Anchor::Middle, &text);
        }
    }
}

/// A bracket for each layer, from its first event to its last one.
fn layers(canvas: &mut Canvas, trace: &Trace, scale: &Scale) {
    let mut spans: BTreeMap<Layer, (Time, Time)> = BTreeMap::new();
    for event in &trace.events {
        let layer = Layer::of(&event.what);
        let end = Time(event.at.0.saturating_add(event.took.unwrap_or_default().0));
        let span = spans.entry(layer).or_insert((event.at, end));
        *span = (span.0.min(event.at), span.1.max(end));
    }
    spans.remove(&Layer::Note);
    for (layer, (from, to)) in spans {
        let (x, y) = (scale.x(from), canvas.y);
        let end = scale.x(to).max(x + 2.0);
        canvas.text((MARGIN, y + 12.0), "small strong", Anchor::Start, layer.name());
        canvas.path(
            &format!("{} bracket", layer.class()),
            &format!("M{x:.1} {:.1}v-6H{end:.1}v6", y + 13.0),
        );
        let took = duration(to.0.saturating_sub(from.0));
        canvas.text((LEFT - 12.0, y + 12.0), "small quiet", Anchor::End, &took);
        canvas.y += BAR;
    }
    canvas.y += 10.0;
}

/// A coloured bar for each stream of HTTP/2.
fn bars(canvas: &mut Canvas, trace: &Trace, scale: &Scale) {
    let streams = streams(trace);
    if streams.is_empty() {
        return;
    }
    canvas.y += 10.0;
    canvas.text((MARGIN, canvas.y + 8.0), "strong", Anchor::Start, "Streams of HTTP/2");
    canvas.y += 18.0;
    for (index, stream) in streams.iter().take(STREAMS).enumerate() {
        let (x, y) = (scale.x(stream.from), canvas.y);
        let width = (scale.x(stream.to) - x).max(2.0);
        let name = format!("{:>3}  {}", stream.id, cut(&stream.label, 20));
        canvas.write(format_args!("<g>"));
        canvas.tooltip(&stream.label);
        canvas.text((MARGIN, y + 11.0), "small", Anchor::Start, &name);
        canvas.rect(&format!("stream{}", index % 8), (x, y + 1.0), (width, 12.0));
        let result = format!("{} {}", format_bytes(stream.bytes), stream.status);
        let (at, anchor) = match x + width > RIGHT - 110.0 {
            true => (x - 6.0, Anchor::End),
            false => (x + width + 6.0, Anchor::Start),
        };
        canvas.text((at, y + 11.0), "small quiet", anchor, &result);
        canvas.write(format_args!("</g>"));
        canvas.y += 16.0;
    }
    if let Some(more @ 1..) = streams.len().checked_sub(STREAMS) {
        let text = format!("and {more} more streams");
        canvas.text((LEFT, canvas.y + 11.0), "small quiet", Anchor::Start, &text);
        canvas.y += 16.0;
    }
    canvas.y += 8.0;
}

/// Curves of the kernel's measurements.
fn measured(canvas: &mut Canvas, trace: &Trace, scale: &Scale) {
    let connections = curves(trace);
    let several = connections.len() > 1;
    let end = trace.header.recorded_by;
    for (number, curves) in &connections {
        canvas.y += 12.0;
        let text = match several {
            true => format!("Measured by the {end}'s kernel, connection {number}"),
            false => format!("Measured by the {end}'s kernel"),
        };
        canvas.text((MARGIN, canvas.y + 6.0), "strong", Anchor::Start, &text);
        canvas.y += 18.0;
        for each in curves {
            curve(canvas, each, scale);
        }
    }
}

fn curve(canvas: &mut Canvas, curve: &Curve, scale: &Scale) {
    let (low, high) = curve.range();
    let (top, bottom) = (canvas.y + 4.0, canvas.y + CURVE - 8.0);
    let y = |value: f64| bottom - value / high.max(1e-9) * (bottom - top);
    canvas.write(format_args!("<g>"));
    canvas.tooltip(&curve.explanation.to_string());
    canvas.text((MARGIN, top + 12.0), "small strong", Anchor::Start, curve.name);
    canvas.text((MARGIN, top + 27.0), "small quiet", Anchor::Start, &curve.show_range(low, high));
    canvas.line("grid", (LEFT, bottom), (RIGHT, bottom));
    let step = curve.points.len().div_ceil(POINTS).max(1);
    let mut data = String::new();
    let mut ends = None;
    // The last point ends the curve, however many are left out.
    let last = curve.points.last().filter(|_| step > 1);
    for (at, value) in curve.points.iter().step_by(step).chain(last) {
        let (x, y) = (scale.x(*at), y(*value));
        match ends {
            None => {
                data.push_str(&format!("M{x:.1} {y:.1}"));
                ends = Some((x, x));
            }
            Some((first, _)) => {
                data.push_str(&format!("H{x:.1}V{y:.1}"));
                ends = Some((first, x));
            }
        }
    }
    if let Some((first, last)) = ends {
        let area = format!("{data}H{last:.1}V{bottom:.1}H{first:.1}Z");
        canvas.path(&format!("{} area", curve.class), &area);
    }
    canvas.path(&format!("{} curve", curve.class), &data);
    canvas.write(format_args!("</g>"));
    canvas.y += CURVE;
}
