//! Plots as SVG: horizontal marks with their values beside them, so that nothing must be read off an axis.

use anyhow::{Context as _, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Serialize;

use crate::view::{number, thousands};

/// Colours of a light page, each for one purpose: [`DARK`] turns them into those of a dark one.
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const QUIET: RGBColor = RGBColor(0x59, 0x63, 0x6e);
const GRID: RGBColor = RGBColor(0xe1, 0xe4, 0xe8);
const CARD: RGBColor = RGBColor(0xfe, 0xfe, 0xfe);
/// Colours that people with any kind of colour vision tell apart (Okabe and Ito, Color Universal Design).
const PARTS: [RGBColor; 4] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
];

/// What the colours are where the reader prefers a dark page; a rule wins over an attribute (SVG 2, section 6.6).
pub(crate) const DARK: &str = "@media (prefers-color-scheme: dark) {\
    [fill='#1F2328'] { fill: #e6edf3 } [fill='#59636E'] { fill: #9da7b3 } [fill='#FEFEFE'] { fill: #161b22 }\
    [stroke='#E1E4E8'] { stroke: #343b44 } [stroke='#FEFEFE'] { stroke: #161b22 }\
    [fill='#0072B2'] { fill: #56b4e9 } [stroke='#0072B2'] { stroke: #56b4e9 } }";

const WIDTH: u32 = 760;
const MARGIN: u32 = 16;
const SIDE: i32 = MARGIN as i32;
/// Title, and below it what is plotted.
const HEAD: u32 = 66;
const ROW: u32 = 26;
/// From a range to the next of its row.
const RANGE: u32 = 10;
const BAR: f64 = 16.0;
/// The name of a group.
const GROUP: u32 = 30;
const AXIS: u32 = 30;
/// A plot of lines.
const LINES: u32 = 240;
/// From the name of a line to the next.
const LABEL: i32 = 16;
/// Characters of a name that there is room for.
const LONGEST: usize = 40;
const FONT: &str = "system-ui, sans-serif";

/// A plot.
#[derive(Debug, Clone, Serialize)]
pub struct Plot {
    /// A name for its file, without an ending.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// Every mark with its value, for those who don't see it.
    pub text: String,
    /// The image, which needs nothing else.
    pub svg: String,
}

/// Rows that belong together.
#[derive(Debug)]
pub(crate) struct Group {
    /// Empty if there is nothing to say.
    pub name: String,
    pub rows: Vec<Row>,
}

/// A row: its name, its mark, and its value in words.
#[derive(Debug)]
pub(crate) struct Row {
    pub name: String,
    pub mark: Mark,
    pub label: String,
}

/// What stands for a value.
#[derive(Debug)]
pub(crate) enum Mark {
    /// A bar of parts, one after the other.
    Bar(Vec<f64>),
    /// Ranges, one below the other, with a dot at their beginning.
    Ranges(Vec<(f64, f64)>),
}

/// A line through points, from left to right.
#[derive(Debug)]
pub(crate) struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

impl Mark {
    /// In pixels, with what is around it.
    fn height(&self) -> u32 {
        match self {
            Mark::Ranges(ranges) if ranges.len() > 1 => ROW + RANGE * pixels(ranges.len() - 1),
            _ => ROW,
        }
    }

    fn end(&self) -> f64 {
        match self {
            Mark::Bar(parts) => parts.iter().sum(),
            Mark::Ranges(ranges) => ranges.iter().map(|(_, to)| *to).fold(0.0, f64::max),
        }
    }
}

impl Group {
    fn head(&self) -> u32 {
        if self.name.is_empty() { 0 } else { GROUP }
    }

    fn height(&self) -> u32 {
        self.head() + self.rows.iter().map(|row| row.mark.height()).sum::<u32>()
    }
}

impl Plot {
    /// A plot of marks in rows; none if there is nothing to show. The legend names the colours.
    pub(crate) fn marks(
        name: &str,
        title: &str,
        unit: &str,
        legend: &[&str],
        groups: &[Group],
    ) -> Result<Option<Plot>> {
        let longest = rows(groups).map(|row| row.mark.end()).fold(0.0, f64::max);
        if longest <= 0.0 {
            return Ok(None);
        }
        let words = groups.iter().map(|group| {
            let rows = group.rows.iter().map(|row| format!("{} {}", row.name, row.label));
            let colon = if group.name.is_empty() { "" } else { ": " };
            format!("{}{colon}{}", group.name, rows.collect::<Vec<_>>().join(", "))
        });
        let height = groups.iter().map(|group| group.height()).sum();
        let frame = Frame {
            name,
            title,
            unit,
            legend,
            height,
        };
        let drawn = frame.draw(words, |root| draw_marks(root, groups, longest, height))?;
        Ok(Some(drawn))
    }

    /// A plot of lines, from 0 upwards; none if there is nothing to show.
    pub(crate) fn lines(name: &str, title: &str, unit: &str, lines: &[Line]) -> Result<Option<Plot>> {
        let points = || lines.iter().flat_map(|line| &line.points);
        let right = points().map(|(x, _)| *x).fold(0.0, f64::max);
        let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
        if right <= 0.0 || top <= 0.0 {
            return Ok(None);
        }
        let words = lines.iter().filter_map(|line| {
            let (first, last) = (line.points.first()?.1, line.points.last()?.1);
            Some(format!("{} from {} to {}", line.name, number(first), number(last)))
        });
        let frame = Frame {
            name,
            title,
            unit,
            legend: &[],
            height: LINES,
        };
        let drawn = frame.draw(words, |root| draw_lines(root, lines, right, top))?;
        Ok(Some(drawn))
    }
}

/// What is around every plot.
struct Frame<'f> {
    name: &'f str,
    title: &'f str,
    unit: &'f str,
    legend: &'f [&'f str],
    /// Of what is in it, without the axis.
    height: u32,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

impl Frame<'_> {
    fn draw(
        &self,
        words: impl Iterator<Item = String>,
        inside: impl for<'a> FnOnce(&Area<'a>) -> Drawn<'a>,
    ) -> Result<Plot> {
        let Frame { name, title, unit, .. } = self;
        let mut svg = String::new();
        {
            let size = (WIDTH, HEAD + self.height + AXIS + MARGIN);
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            let drawn = self
                .head(&root)
                .and_then(|()| inside(&root))
                .and_then(|()| root.present());
            drawn.map_err(|error| anyhow!("drawing the plot {name}: {error}"))?;
        }
        let (open, rest) = svg
            .split_once('\n')
            .context("an SVG image begins with a line of its own")?;
        Ok(Plot {
            name: (*name).to_owned(),
            title: (*title).to_owned(),
            text: format!("{title}, in {unit}. {}.", words.collect::<Vec<_>>().join(". ")),
            // The title is one of ours: there is nothing in it to escape.
            svg: format!("{open}\n<title>{title}</title>\n<style>{DARK}</style>\n{rest}"),
        })
    }

    fn head<'a>(&self, root: &Area<'a>) -> Drawn<'a> {
        root.fill(&CARD)?;
        root.draw(&Text::new(self.title.to_owned(), (SIDE, 26), bold(20.0)))?;
        let mut x = SIDE;
        for (part, color) in self.legend.iter().zip(PARTS) {
            root.draw(&Rectangle::new([(x, 45), (x + 12, 57)], color.filled()))?;
            root.draw(&Text::new((*part).to_owned(), (x + 18, 51), usual(&INK, HPos::Left)))?;
            x += 18 + width(part) as i32 + 12;
        }
        root.draw(&Text::new(self.unit.to_owned(), (x, 51), usual(&QUIET, HPos::Left)))
    }
}

fn rows(groups: &[Group]) -> impl Iterator<Item = &Row> {
    groups.iter().flat_map(|group| &group.rows)
}

fn pixels(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How wide a text of the usual size may be, in pixels, at most half of the plot: no font is at hand to ask.
fn width(text: &str) -> u32 {
    (pixels(text.chars().count()) * 17 / 2).min(WIDTH / 2)
}

/// A name, or as much of it as there is room for.
fn fitted(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

fn widest(texts: impl Iterator<Item = String>) -> u32 {
    texts.map(|text| width(&text)).max().unwrap_or(0)
}

fn usual(color: &RGBColor, h: HPos) -> TextStyle<'static> {
    (FONT, 16.0).into_font().color(color).pos(Pos::new(h, VPos::Center))
}

fn bold(size: f64) -> TextStyle<'static> {
    let font = (FONT, size, FontStyle::Bold).into_font();
    font.color(&INK).pos(Pos::new(HPos::Left, VPos::Center))
}

fn axis(h: HPos, v: VPos) -> TextStyle<'static> {
    (FONT, 14.0).into_font().color(&QUIET).pos(Pos::new(h, v))
}

/// A number of an axis.
fn tick(value: &f64) -> String {
    if value.abs() >= 1000.0 {
        thousands(*value)
    } else {
        format!("{}", (value * 1e6).round() / 1e6)
    }
}

fn draw_marks<'a>(root: &Area<'a>, groups: &[Group], longest: f64, height: u32) -> Drawn<'a> {
    let names = widest(rows(groups).map(|row| fitted(&row.name)));
    let labels = widest(rows(groups).map(|row| row.label.clone()));
    let mut chart = ChartBuilder::on(root)
        .margin_left(MARGIN)
        .margin_right(MARGIN + labels + 8)
        .margin_top(HEAD)
        .margin_bottom(MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, names + 10)
        .set_label_area_size(LabelAreaPosition::Bottom, AXIS)
        // Pixels from above.
        .build_cartesian_2d(0.0..longest, f64::from(height)..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_labels(6)
        .x_label_formatter(&tick)
        .axis_style(TRANSPARENT)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(axis(HPos::Center, VPos::Top))
        .draw()?;
    let area = chart.plotting_area();
    let mut y = 0.0;
    for group in groups {
        if !group.name.is_empty() {
            let at = EmptyElement::at((0.0, y + f64::from(GROUP) * 0.6));
            area.draw(&(at + Text::new(group.name.clone(), (-(names as i32) - 10, 0), bold(16.0))))?;
        }
        y += f64::from(group.head());
        for row in &group.rows {
            let middle = y + f64::from(row.mark.height()) / 2.0;
            let name = Text::new(fitted(&row.name), (-10, 0), usual(&INK, HPos::Right));
            area.draw(&(EmptyElement::at((0.0, middle)) + name))?;
            match &row.mark {
                Mark::Bar(parts) => {
                    let mut from = 0.0;
                    for (part, color) in parts.iter().zip(PARTS) {
                        let corners = [(from, middle - BAR / 2.0), (from + part, middle + BAR / 2.0)];
                        area.draw(&Rectangle::new(corners, color.filled()))?;
                        from += part;
                    }
                }
                Mark::Ranges(ranges) => {
                    let below = f64::from(RANGE * pixels(ranges.len().saturating_sub(1)));
                    let mut y = middle - below / 2.0;
                    for ((from, to), color) in ranges.iter().zip(PARTS) {
                        area.draw(&PathElement::new([(*from, y), (*to, y)], color.stroke_width(3)))?;
                        area.draw(&PathElement::new(
                            [(*to, y - 4.0), (*to, y + 4.0)],
                            color.stroke_width(2),
                        ))?;
                        area.draw(&Circle::new((*from, y), 4, color.filled()))?;
                        y += f64::from(RANGE);
                    }
                }
            }
            let label = Text::new(row.label.clone(), (8, 0), usual(&INK, HPos::Left));
            area.draw(&(EmptyElement::at((row.mark.end(), middle)) + label))?;
            y += f64::from(row.mark.height());
        }
    }
    Ok(())
}

fn draw_lines<'a>(root: &Area<'a>, lines: &[Line], right: f64, top: f64) -> Drawn<'a> {
    let mut chart = ChartBuilder::on(root)
        .margin_left(MARGIN)
        .margin_right(MARGIN + widest(lines.iter().map(|line| fitted(&line.name))) + 24)
        .margin_top(HEAD)
        .margin_bottom(MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, 40)
        .set_label_area_size(LabelAreaPosition::Bottom, AXIS)
        .build_cartesian_2d(0.0..right, 0.0..top * 1.05)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .axis_style(TRANSPARENT)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(axis(HPos::Center, VPos::Top))
        .y_label_style(axis(HPos::Right, VPos::Center))
        .draw()?;
    let area = chart.plotting_area();
    for (line, color) in lines.iter().zip(PARTS.iter().cycle()) {
        area.draw(&PathElement::new(line.points.clone(), color.stroke_width(2)))?;
    }
    // Names stand at the ends of their lines, from above, none on another.
    let ends = lines.iter().zip(PARTS.iter().cycle()).filter_map(|(line, color)| {
        let end = *line.points.last()?;
        Some((line, color, area.map_coordinate(&end)))
    });
    let mut ends: Vec<(&Line, &RGBColor, (i32, i32))> = ends.collect();
    ends.sort_by_key(|(.., (_, y))| *y);
    let mut free = 0;
    for (line, color, (x, y)) in ends {
        let y = y.max(free);
        root.draw(&Rectangle::new([(x + 8, y - 5), (x + 18, y + 5)], color.filled()))?;
        root.draw(&Text::new(fitted(&line.name), (x + 24, y), usual(&INK, HPos::Left)))?;
        free = y + LABEL;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(name: &str, parts: &[f64]) -> Vec<Group> {
        vec![Group {
            name: "10-spans".into(),
            rows: vec![Row {
                name: name.into(),
                mark: Mark::Bar(parts.to_vec()),
                label: "3 = 1 + 2".into(),
            }],
        }]
    }

    #[test]
    fn a_bar_is_as_long_as_its_value_and_what_it_says_is_escaped() {
        let plot = Plot::marks("cpu", "CPU", "s", &["a", "b"], &groups("<script>", &[1.0, 2.0]))
            .unwrap()
            .unwrap();
        assert!(
            !plot.svg.contains("<script") && plot.svg.contains("&lt;script&gt;"),
            "{}",
            plot.svg
        );
        let bars: Vec<f64> = [PARTS[0], PARTS[1]]
            .iter()
            .map(|RGBColor(r, g, b)| {
                let fill = format!("fill=\"#{r:02X}{g:02X}{b:02X}\"");
                let bar = plot
                    .svg
                    .lines()
                    .rfind(|line| line.contains("<rect") && line.contains(&fill))
                    .unwrap();
                let (_, width) = bar.split_once("width=\"").unwrap();
                width.split_once('"').unwrap().0.parse().unwrap()
            })
            .collect();
        assert!((bars[1] / bars[0] - 2.0).abs() < 0.05, "{bars:?}");
        assert!(plot.text.contains("10-spans: <script> 3 = 1 + 2"), "{}", plot.text);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(
            Plot::marks("cpu", "CPU", "s", &[], &groups("a", &[0.0]))
                .unwrap()
                .is_none()
        );
        assert!(Plot::lines("memory", "Memory", "MiB", &[]).unwrap().is_none());
    }

    #[test]
    fn every_colour_of_the_light_page_that_would_be_hard_to_see_has_one_for_the_dark_page() {
        for RGBColor(r, g, b) in [INK, QUIET, GRID, CARD, PARTS[0]] {
            assert!(
                DARK.contains(&format!("#{r:02X}{g:02X}{b:02X}")),
                "{r:02X}{g:02X}{b:02X}"
            );
        }
    }
}
