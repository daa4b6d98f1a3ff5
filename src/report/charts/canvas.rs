//! A drawing on kuva's scene, in px from the top left corner, rendered to SVG and PNG. On a page no element has an id,
//! so a page can hold several drawings.

use kuva::backend::png::PngBackend;
use kuva::backend::svg::SvgBackend;
use kuva::render::color::Color;
use kuva::render::render::{PathData, Primitive, Scene};

#[cfg(test)]
use super::axis::Coordinate;
use super::style::{DARK, FONT, Ink, Paper, SCALE, sheet};
use crate::report::escape::{visible, xml};

/// The point of a text that its position refers to: start, middle or end.
pub use kuva::render::render::TextAnchor as Anchor;

pub struct Canvas {
    scene: Scene,
    paper: Paper,
    /// The marks drawn so far.
    #[cfg(test)]
    plotted: Vec<Plotted>,
}

/// Where a mark belongs: tests compare this with the shape that was drawn.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub struct Plotted {
    /// Index of the mark's first shape.
    pub element: usize,
    /// Index of the dot within that shape.
    pub nth: usize,
    pub x: Coordinate,
    pub y: Coordinate,
}

impl Canvas {
    /// An empty drawing, size in px.
    pub fn new(width: f64, height: f64, paper: Paper) -> Self {
        let background = (paper == Paper::File).then_some("#ffffff");
        let mut scene = Scene::new(width.ceil(), height.ceil()).with_background(background);
        scene.font_family = Some(FONT.to_string());
        Self {
            scene,
            paper,
            #[cfg(test)]
            plotted: Vec::new(),
        }
    }

    /// Notes where the next shape, or the `nth` dot of it, belongs.
    #[cfg(test)]
    pub fn note(&mut self, nth: usize, x: Coordinate, y: Coordinate) {
        self.plotted.push(Plotted { element: self.scene.elements.len(), nth, x, y });
    }

    #[cfg(test)]
    pub fn plotted(&self) -> &[Plotted] {
        &self.plotted
    }

    #[cfg(test)]
    pub fn shapes(&self) -> &[Primitive] {
        &self.scene.elements
    }

    fn colour(&self, ink: Ink) -> Color {
        Color::from(ink.css(self.paper))
    }

    /// Begins a group with a tooltip, up to `end`. A file has no tooltips and no groups.
    pub fn begin(&mut self, words: &str) {
        if self.paper == Paper::Page {
            // An attribute: for a title kuva would add a style element, which the pages' policy forbids.
            let extra_attrs = Some(format!("data-tip=\"{}\"", xml(words)));
            self.scene.add(Primitive::GroupStart { transform: None, title: None, extra_attrs });
        }
    }

    pub fn end(&mut self) {
        if self.paper == Paper::Page {
            self.scene.add(Primitive::GroupEnd);
        }
    }

    /// One line of text; `y` is its baseline.
    pub fn text(&mut self, x: f64, y: f64, content: &str, size: u32, anchor: Anchor, ink: Ink) {
        self.push_text((x, y), content, size, anchor, ink, None);
    }

    /// Text that reads upwards, centred at the point.
    pub fn text_up(&mut self, x: f64, y: f64, content: &str, size: u32, ink: Ink) {
        self.push_text((x, y), content, size, Anchor::Middle, ink, Some(-90.0));
    }

    fn push_text(
        &mut self,
        (x, y): (f64, f64),
        content: &str,
        size: u32,
        anchor: Anchor,
        ink: Ink,
        rotate: Option<f64>,
    ) {
        let color = Some(self.colour(ink));
        // kuva reads `$…$` as mathematics; here a dollar is a dollar.
        let content = visible(content).replace('$', "\\$");
        self.scene.add(Primitive::Text { x, y, content, size, anchor, rotate, bold: false, color });
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink, width: f64) {
        let tenth = |px: f64| (px * 10.0).round() / 10.0;
        let stroke = self.colour(ink);
        self.scene.add(Primitive::Line {
            x1: tenth(from.0),
            y1: tenth(from.1),
            x2: tenth(to.0),
            y2: tenth(to.1),
            stroke,
            stroke_width: width,
            stroke_dasharray: None,
        });
    }

    /// Several straight lines in one element, each from one point to another.
    pub fn lines(&mut self, lines: &[[(f64, f64); 2]], ink: Ink, width: f64) {
        let one =
            |[from, to]: &[(f64, f64); 2]| format!("M{:.1} {:.1}L{:.1} {:.1}", from.0, from.1, to.0, to.1);
        self.path(lines.iter().map(one).collect(), None, Some(ink), width, None);
    }

    /// A line through all points, in one element.
    pub fn polyline(&mut self, points: &[(f64, f64)], ink: Ink, width: f64, dashed: bool) {
        let places: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let dash = dashed.then(|| "4 3".to_string());
        self.dashed_path(format!("M{}", places.join("L")), None, Some(ink), width, None, dash);
    }

    /// The thin, perhaps dashed, outline of a rectangle over a light shade of its colour.
    pub fn frame(&mut self, x: f64, y: f64, width: f64, height: f64, ink: Ink, dashed: bool) {
        let corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)];
        let dash = dashed.then(|| "2 2".to_string());
        self.dashed_path(outline(&corners), Some(ink), Some(ink), 1.0, Some(0.1), dash);
    }

    /// A filled rectangle without an outline.
    pub fn block(&mut self, x: f64, y: f64, width: f64, height: f64, ink: Ink, opacity: f64) {
        let fill = self.colour(ink);
        let opacity = (opacity < 1.0).then_some(opacity);
        let (stroke, stroke_width) = (None, None);
        self.scene.add(Primitive::Rect { x, y, width, height, fill, stroke, stroke_width, opacity });
    }

    pub fn circle(&mut self, cx: f64, cy: f64, r: f64, fill: Option<Ink>, stroke: Ink, width: f64) {
        let fill = fill.map_or(Color::None, |ink| self.colour(ink));
        let (stroke, stroke_width) = (Some(self.colour(stroke)), Some(width));
        self.scene.add(Primitive::Circle { cx, cy, r, fill, fill_opacity: None, stroke, stroke_width });
    }

    /// The thin outline of a closed polygon.
    pub fn polygon_outline(&mut self, points: &[(f64, f64)], stroke: Ink) {
        self.path(outline(points), None, Some(stroke), 1.0, None);
    }

    /// A filled polygon without an outline.
    pub fn shade(&mut self, points: &[(f64, f64)], ink: Ink, opacity: f64) {
        self.path(outline(points), Some(ink), None, 0.0, Some(opacity));
    }

    pub fn polygon(&mut self, points: &[(f64, f64)], fill: Option<Ink>, stroke: Ink, width: f64) {
        self.path(outline(points), fill, Some(stroke), width, None);
    }

    /// Many dots of one colour in one element. Dots of one element do not shade each other.
    pub fn dots(&mut self, centres: &[(f64, f64)], r: f64, ink: Ink, opacity: f64) {
        if self.paper == Paper::File {
            let width = 2.0 * r;
            let one = |(x, y): &(f64, f64)| {
                format!("M{:.1} {y:.1}a{r} {r} 0 1 0 {width} 0a{r} {r} 0 1 0 -{width} 0Z", x - r)
            };
            return self.path(centres.iter().map(one).collect(), Some(ink), None, 0.0, Some(opacity));
        }
        // Lines of no length with round ends: a quarter of the bytes, and a page has a size limit.
        let extra_attrs = Some(format!("stroke-linecap=\"round\" stroke-opacity=\"{opacity}\""));
        self.scene.add(Primitive::GroupStart { transform: None, title: None, extra_attrs });
        let one = |(x, y): &(f64, f64)| format!("M{x:.1} {y:.1}h0");
        self.path(centres.iter().map(one).collect(), None, Some(ink), 2.0 * r, None);
        self.scene.add(Primitive::GroupEnd);
    }

    fn path(&mut self, d: String, fill: Option<Ink>, stroke: Option<Ink>, width: f64, opacity: Option<f64>) {
        self.dashed_path(d, fill, stroke, width, opacity, None);
    }

    fn dashed_path(
        &mut self,
        d: String,
        fill: Option<Ink>,
        stroke: Option<Ink>,
        width: f64,
        opacity: Option<f64>,
        stroke_dasharray: Option<String>,
    ) {
        let path = PathData {
            d,
            fill: fill.map(|ink| self.colour(ink)),
            stroke: stroke.map_or(Color::None, |ink| self.colour(ink)),
            stroke_width: width,
            opacity,
            stroke_dasharray,
        };
        self.scene.add(Primitive::Path(Box::new(path)));
    }

    pub fn png(&self) -> Result<Vec<u8>, String> {
        PngBackend::new().with_scale(SCALE).render_scene(&self.scene)
    }

    /// The drawing as SVG. It scales down to the available room, never beyond its own size.
    pub fn into_svg(self) -> String {
        let (width, height) = (self.scene.width, self.scene.height);
        let svg = SvgBackend::new().render_scene(&self.scene);
        // kuva gives a fixed size only; with a view box a page can shrink it.
        let id = if self.paper == Paper::File { format!("id=\"{DARK}\" ") } else { String::new() };
        let svg = svg.replacen("<svg ", &format!("<svg {id}viewBox=\"0 0 {width} {height}\" "), 1);
        match (self.paper, svg.find('>')) {
            (Paper::File, Some(end)) => format!("{}{}{}", &svg[..=end], sheet(), &svg[end + 1..]),
            _ => svg,
        }
    }
}

fn outline(points: &[(f64, f64)]) -> String {
    let corners: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    format!("M{}Z", corners.join("L"))
}
