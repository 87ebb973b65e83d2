//! Page layout: which rows of text go where.
//!
//! A row has as many lines as its longest text needs; a text that is too long for its column wraps,
//! and an amount is written smaller. So nothing is cut off, and nothing is lost at the end of a
//! page.

#![expect(clippy::float_arithmetic, reason = "these are places on paper, and no money")]

use krilla::color::luma;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;
use krilla::text::{Font, GlyphId, KrillaGlyph};
use krilla::{Data, Document};
use skrifa::charmap::Charmap;
use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::{FontRef, MetadataProvider as _};

use super::{ALL, PdfError, RIGHT};

/// A4, in points.
const WIDTH: f32 = 595.276;
const HEIGHT: f32 = 841.89;

/// Top and bottom margins, and the position of the page number.
const TOP: f32 = 57.0;
const BOTTOM: f32 = 770.0;
const PAGE_NUMBER: f32 = 800.0;

/// Shown in place of a character that the fonts do not have.
const REPLACEMENT: char = '\u{fffd}';

/// Right-to-left scripts: the fonts have some of these letters, but set from left to right and
/// unjoined they are unreadable.
const RIGHT_TO_LEFT: [(char, char); 4] = [
    ('\u{590}', '\u{8ff}'),
    ('\u{fb1d}', '\u{fdff}'),
    ('\u{fe70}', '\u{fefe}'),
    ('\u{10800}', '\u{10fff}'),
];

/// The style of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Title,
    Plain,
    Strong,
    /// Smaller, and in grey.
    Pale,
}

impl Style {
    /// The font size and the line height.
    fn heights(self) -> (f32, f32) {
        match self {
            Self::Title => (16.0, 22.0),
            Self::Plain | Self::Strong => (9.0, 13.5),
            Self::Pale => (8.0, 12.0),
        }
    }

    fn lightness(self) -> u8 {
        match self {
            Self::Title | Self::Plain | Self::Strong => 26,
            Self::Pale => 85,
        }
    }
}

/// A column of a page, between two x positions.
#[derive(Clone, Copy)]
pub(super) struct Column {
    left: f32,
    right: f32,
    is_at_right: bool,
}

impl Column {
    /// A column aligned to the left, for texts.
    pub(super) const fn left(left: f32, right: f32) -> Self {
        Self { left, right, is_at_right: false }
    }

    /// A column aligned to the right, for numbers.
    pub(super) const fn right(left: f32, right: f32) -> Self {
        Self { left, right, is_at_right: true }
    }

    fn width(self) -> f32 {
        self.right - self.left
    }
}

/// A text in its column.
pub(super) struct Cell<'a> {
    column: Column,
    style: Style,
    /// May contain several lines.
    text: &'a str,
}

impl<'a> Cell<'a> {
    pub(super) const fn new(column: Column, style: Style, text: &'a str) -> Self {
        Self { column, style, text }
    }
}

/// A line of a row.
#[derive(Clone)]
struct Line {
    height: f32,
    pieces: Vec<Piece>,
}

/// The content of one column of a line.
#[derive(Clone)]
struct Piece {
    column: Column,
    style: Style,
    text: String,
}

/// A mark on a page.
enum Mark {
    /// A text, and its baseline.
    Text(Piece, f32),
    /// A horizontal rule.
    Rule(f32),
}

/// A built-in font: DejaVu Sans, whose licence allows embedding and redistribution.
struct Face {
    font: Font,
    letters: Charmap<'static>,
    metrics: GlyphMetrics<'static>,
}

impl Face {
    fn open(bytes: &'static [u8]) -> Result<Self, PdfError> {
        let font = Font::new(Data::from(bytes), 0).ok_or(PdfError::Font)?;
        let read = FontRef::new(bytes).map_err(|_unreadable| PdfError::Font)?;
        let metrics = read.glyph_metrics(Size::new(1.0), LocationRef::default());
        Ok(Self { font, letters: read.charmap(), metrics })
    }

    /// PDF/A forbids characters that the font does not have, so they are replaced.
    fn shown(&self, text: &str) -> String {
        let is_shown = |letter: char| {
            let is_turned =
                RIGHT_TO_LEFT.iter().any(|(first, last)| (*first..=*last).contains(&letter));
            !is_turned && self.letters.map(letter).is_some_and(|glyph| glyph.to_u32() != 0)
        };
        text.chars().map(|letter| if is_shown(letter) { letter } else { REPLACEMENT }).collect()
    }

    /// The glyphs of a text, with their widths at font size 1.
    fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        let glyph = |(start, letter): (usize, char)| {
            let glyph = self.letters.map(letter)?;
            let end = start.saturating_add(letter.len_utf8());
            let width = self.metrics.advance_width(glyph)?;
            let id = GlyphId::new(glyph.to_u32());
            Some(KrillaGlyph::new(id, width, 0.0, 0.0, 0.0, start..end, None))
        };
        text.char_indices().filter_map(glyph).collect()
    }

    fn width(&self, text: &str, height: f32) -> f32 {
        self.glyphs(text).iter().map(|glyph| glyph.x_advance * height).sum()
    }

    /// Wraps a line to this width: between words, or within a word that is too long.
    fn wrapped(&self, text: &str, height: f32, width: f32) -> Vec<String> {
        let fits = |text: &str| self.width(text, height) <= width;
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in text.split(' ') {
            let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if fits(&longer) {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for letter in word.chars() {
                let longer = format!("{line}{letter}");
                if line.is_empty() || fits(&longer) {
                    line = longer;
                } else {
                    lines.push(std::mem::replace(&mut line, letter.to_string()));
                }
            }
        }
        lines.push(line);
        lines
    }
}

/// The pages so far.
pub(super) struct Sheets {
    plain: Face,
    strong: Face,
    /// The heading of every page but the first.
    title: String,
    /// The table's head, repeated on each of its pages.
    head: Vec<Line>,
    pages: Vec<Vec<Mark>>,
    /// The position of the next row, from the top of the last page.
    next: f32,
}

impl Sheets {
    /// Creates empty pages.
    ///
    /// **Errors.** The built-in fonts cannot be used.
    pub(super) fn open(title: String) -> Result<Self, PdfError> {
        Ok(Self {
            plain: Face::open(dejavu::sans::regular())?,
            strong: Face::open(dejavu::sans::bold())?,
            title,
            head: Vec::new(),
            pages: vec![Vec::new()],
            next: TOP,
        })
    }

    /// Writes a row. A row that fits on a page is not split.
    pub(super) fn row(&mut self, cells: &[Cell<'_>]) {
        let lines = self.lines(cells);
        self.keep_together(lines.iter().map(|line| line.height).sum());
        for line in lines {
            self.keep_together(line.height);
            self.put(line);
        }
    }

    /// Begins a table, whose head is repeated on every page.
    pub(super) fn begin_table(&mut self, head: &[Cell<'_>]) {
        // Avoids a head without rows at the end of a page.
        self.keep_together(40.0);
        self.head = self.lines(head);
        self.put_head();
    }

    /// Ends the table.
    pub(super) fn end_table(&mut self) {
        self.head.clear();
        self.rule();
    }

    /// Leaves a gap.
    pub(super) fn gap(&mut self, height: f32) {
        self.next += height;
    }

    /// Draws a horizontal rule.
    pub(super) fn rule(&mut self) {
        let at = self.next + 2.0;
        self.mark(Mark::Rule(at));
        self.next += 4.0;
    }

    /// Starts a new page if less than this height is left. Heights above a full page count as a
    /// full page.
    pub(super) fn keep_together(&mut self, height: f32) {
        let is_too_much = self.next + height > BOTTOM;
        if is_too_much && TOP + height <= BOTTOM - 60.0 {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.pages.push(Vec::new());
        self.next = TOP;
        let title = self.title.clone();
        for line in self.lines(&[Cell::new(ALL, Style::Pale, &title)]) {
            self.put(line);
        }
        self.gap(8.0);
        if !self.head.is_empty() {
            self.put_head();
        }
    }

    fn put_head(&mut self) {
        for line in self.head.clone() {
            self.put(line);
        }
        self.rule();
    }

    fn put(&mut self, line: Line) {
        self.next += line.height;
        // The baseline: a quarter of the line's height is below it.
        let foot = self.next - line.height * 0.25;
        for piece in line.pieces {
            self.mark(Mark::Text(piece, foot));
        }
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    fn face(&self, style: Style) -> &Face {
        match style {
            Style::Title | Style::Strong => &self.strong,
            Style::Plain | Style::Pale => &self.plain,
        }
    }

    /// Splits a row into lines.
    fn lines(&self, cells: &[Cell<'_>]) -> Vec<Line> {
        let columns: Vec<_> = cells.iter().map(|cell| (cell, self.wrapped(cell))).collect();
        let count = columns.iter().map(|(_, texts)| texts.len()).max().unwrap_or_default();
        let line = |number: usize| {
            let pieces = columns.iter().filter_map(|(cell, texts)| {
                let text = texts.get(number)?.clone();
                Some(Piece { column: cell.column, style: cell.style, text })
            });
            let pieces: Vec<_> = pieces.collect();
            let heights = pieces.iter().map(|piece| piece.style.heights().1);
            Line { height: heights.fold(0.0, f32::max), pieces }
        };
        (0..count).map(line).collect()
    }

    /// Wraps a cell's text to its column. A number stays in one piece.
    fn wrapped(&self, cell: &Cell<'_>) -> Vec<String> {
        let face = self.face(cell.style);
        let lines = cell.text.split('\n').map(|line| face.shown(line));
        if cell.column.is_at_right {
            return lines.collect();
        }
        let (height, _) = cell.style.heights();
        lines.flat_map(|line| face.wrapped(&line, height, cell.column.width())).collect()
    }

    /// Draws all pages into a file, with page numbers.
    ///
    /// **Errors.** The page size is invalid.
    pub(super) fn draw(&self, file: &mut Document) -> Result<(), PdfError> {
        let a4 = PageSettings::from_wh(WIDTH, HEIGHT);
        let a4 = a4.ok_or_else(|| PdfError::NotArchival("A4 is no page".to_owned()))?;
        let count = self.pages.len();
        for (number, marks) in (1_usize..).zip(&self.pages) {
            let mut page = file.start_page_with(a4.clone());
            let mut surface = page.surface();
            for mark in marks {
                match mark {
                    Mark::Text(piece, foot) => self.draw_piece(&mut surface, piece, *foot),
                    Mark::Rule(at) => draw_rule(&mut surface, *at),
                }
            }
            let text = format!("Page {number} of {count}");
            let piece = Piece { column: Column::right(ALL.left, RIGHT), style: Style::Pale, text };
            self.draw_piece(&mut surface, &piece, PAGE_NUMBER);
            surface.finish();
            page.finish();
        }
        Ok(())
    }

    fn draw_piece(&self, surface: &mut Surface<'_>, piece: &Piece, foot: f32) {
        let Piece { column, style, text } = piece;
        let face = self.face(*style);
        let (height, _) = style.heights();
        let width = face.width(text, height);
        let too_wide = width > column.width();
        let (height, width) = if too_wide {
            (height * column.width() / width, column.width())
        } else {
            (height, width)
        };
        let left = if column.is_at_right { column.right - width } else { column.left };
        surface.set_fill(Some(ink(style.lightness())));
        let (start, glyphs) = (Point::from_xy(left, foot), face.glyphs(text));
        surface.draw_glyphs(start, &glyphs, face.font.clone(), text, height, false);
    }
}

fn draw_rule(surface: &mut Surface<'_>, at: f32) {
    let Some(line) = Rect::from_xywh(ALL.left, at, ALL.width(), 0.7) else { return };
    let mut path = PathBuilder::new();
    path.push_rect(line);
    if let Some(path) = path.finish() {
        surface.set_fill(Some(ink(Style::Plain.lightness())));
        surface.draw_path(&path);
    }
}

fn ink(lightness: u8) -> Fill {
    Fill { paint: luma::Color::new(lightness).into(), ..Fill::default() }
}
