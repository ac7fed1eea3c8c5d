//! Charts as SVG that fits into the page and takes its colours from it.
//!
//! Drawn with fixed colours that are replaced by the page's variables afterwards, so that one
//! drawing serves light and dark. Lines differ in colour and in the legend's order, which stands
//! above the drawing and hides nothing; every chart has a title, named axes with units, and a
//! description for those who do not see it.

use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;
use plotters::style::{FontFamily, RGBColor, ShapeStyle, TextStyle};

use super::words::{microseconds, significant};

/// A line of a chart.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// What a chart shows.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) across: &'a str,
    pub(super) upwards: &'a str,
    pub(super) lines: Vec<Line>,
    /// Where a stage begins.
    pub(super) marks: Vec<f64>,
    pub(super) scale: Scale,
}

/// What its axes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Seconds, and a number from 0.
    Plain,
    /// Seconds, and microseconds in powers of ten.
    Latency,
    /// Nines of a quantile, and microseconds in powers of ten.
    Percentiles,
}

impl Chart<'_> {
    /// The chart as an SVG element; nothing without points.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        if points().count() == 0 {
            return String::new();
        }
        let last = points().map(|(x, _)| x).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let (least, most) = points()
            .map(|(_, y)| y)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), y| (least.min(y), most.max(y)));
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let drawn = match self.scale {
            Scale::Plain => self.draw(&area, last, (0.0, most * 1.1), 0.0..most * 1.1),
            _ => {
                let ends = (least.max(0.1) / 1.3, most * 1.3);
                self.draw(&area, last, ends, (ends.0..ends.1).log_scale())
            }
        };
        drawn.expect("drawing into a string cannot fail");
        drop(area);
        self.dress(&svg)
    }

    fn draw<Y>(
        &self,
        area: &Area<'_>,
        last: f64,
        (bottom, top): (f64, f64),
        upwards: Y,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
        Y::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
    {
        let text = TextStyle::from((FontFamily::SansSerif, TEXT)).color(&INK);
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(40)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..last, upwards)?;
        let scale = self.scale;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(text.clone())
            .axis_desc_style(text.clone())
            .x_desc(self.across)
            .y_desc(self.upwards)
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|x| across_label(scale, *x))
            .y_label_formatter(&|y| upwards_label(scale, *y))
            .draw()?;
        let mark = |at: &f64| PathElement::new([(*at, bottom), (*at, top)], INK.mix(0.35));
        chart.draw_series(self.marks.iter().map(mark))?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let style = ShapeStyle::from(colour).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        }
        area.present()?;
        Ok(())
    }

    /// Gives the drawing the page's colours and a name.
    fn dress(&self, svg: &str) -> String {
        let (width, height) = SIZE;
        let opening = format!("<svg width=\"{width}\" height=\"{height}\"");
        let title = escaped(self.title);
        let mut dressed =
            svg.replacen(&opening, &format!("<svg role=\"img\" aria-label=\"{title}\""), 1);
        let fixed = [(INK, "ink"), (GRID, "grid")];
        let lines = COLOURS.iter().zip(LINE_NAMES).map(|(colour, name)| (*colour, name));
        for (RGBColor(red, green, blue), name) in fixed.into_iter().chain(lines) {
            let colour = format!("#{red:02X}{green:02X}{blue:02X}");
            dressed = dressed.replace(&colour, &format!("var(--{name})"));
        }
        let legend = self.legend();
        format!(
            "<figure><figcaption>{title}{legend}</figcaption><div class=\"wide\">{dressed}</div>\
             </figure>\n"
        )
    }

    /// The lines' names with their colours, if there are several.
    fn legend(&self) -> String {
        if self.lines.len() < 2 {
            return String::new();
        }
        let key = |(line, name): (&Line, &&str)| {
            let words = escaped(&line.name);
            format!("<span class=\"key\"><i style=\"background: var(--{name})\"></i>{words}</span>")
        };
        self.lines.iter().zip(LINE_NAMES.iter().cycle()).map(key).collect()
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Text that is safe in HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A quantile as a chart of percentiles places it: 0.9 at 1, 0.99 at 2, and so on.
pub(super) fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

fn across_label(scale: Scale, x: f64) -> String {
    if scale != Scale::Percentiles {
        return format!("{}", (x * 10.0).round() / 10.0);
    }
    let percent = (1.0 - 10_f64.powf(-x)) * 100.0;
    let digits = if x <= 2.0 { 0 } else { 5 };
    short(&format!("{percent:.digits$}")).to_owned()
}

/// A number without zeros that say nothing.
fn short(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

fn upwards_label(scale: Scale, y: f64) -> String {
    match scale {
        Scale::Plain if y >= 1e6 => format!("{} M", short(&significant(y / 1e6))),
        Scale::Plain if y >= 1e3 => format!("{} k", short(&significant(y / 1e3))),
        Scale::Plain => format!("{}", (y * 10.0).round() / 10.0),
        _ => match microseconds(y).split_once(' ') {
            Some((number, unit)) => format!("{} {unit}", short(number)),
            None => String::new(),
        },
    }
}

const SIZE: (u32, u32) = (860, 300);

const TEXT: u32 = 13;

/// Stand-ins, which no drawing has by chance.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const COLOURS: [RGBColor; 4] =
    [RGBColor(4, 4, 4), RGBColor(5, 5, 5), RGBColor(6, 6, 6), RGBColor(7, 7, 7)];

/// The page's variables for them.
const LINE_NAMES: [&str; 4] = ["line-1", "line-2", "line-3", "line-4"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_labelled_as_percentiles() {
        for (quantile, label) in [(0.0, "0"), (0.9, "90"), (0.99, "99"), (0.999, "99.9")] {
            assert_eq!(across_label(Scale::Percentiles, nines(quantile)), label);
        }
    }

    #[test]
    fn labels_have_no_digits_that_say_nothing() {
        for (scale, value, label) in [
            (Scale::Plain, 0.0, "0"),
            (Scale::Plain, 15_000.0, "15 k"),
            (Scale::Plain, 2_500_000.0, "2.5 M"),
            (Scale::Latency, 100.0, "100 µs"),
            (Scale::Latency, 10_000.0, "10 ms"),
        ] {
            assert_eq!(upwards_label(scale, value), label);
        }
    }

    #[test]
    fn a_chart_has_the_pages_colours_and_its_own_name() {
        let line = |name: &str| Line { name: name.into(), points: vec![(0.0, 1.0), (1.0, 900.0)] };
        for scale in [Scale::Plain, Scale::Latency, Scale::Percentiles] {
            let lines = vec![line("a"), line("b")];
            let marks = vec![0.5];
            let chart = Chart { title: "x < y", across: "s", upwards: "µs", lines, marks, scale };
            let svg = chart.svg();
            assert!(svg.contains("x &lt; y") && svg.contains("</i>b</span>"), "{svg}");
            assert_eq!(svg.matches("var(--line-2)").count(), 2, "the line and its key: {svg}");
            assert!(!svg.contains("#010101") && !svg.contains("#040404"), "{svg}");
        }
        let (lines, marks, scale) = (Vec::new(), Vec::new(), Scale::Plain);
        let none = Chart { title: "", across: "", upwards: "", lines, marks, scale };
        assert_eq!(none.svg(), "");
    }
}
