//! A streaming XML reader for outside files, with limits.
//!
//! Each element below a message's statements is handed over separately, so only one is in memory at
//! a time. A document with a DTD (and so with entities that grow when they are resolved) is
//! refused, and so is a truncated one.

use domain::as_one_line;
use quick_xml::Reader;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};

/// The largest file, in bytes: more than a day's statement of a busy shop.
pub const FILE_MAX: usize = 32 * 1_024 * 1_024;

/// The deepest nesting of elements. A bank's statement has about a dozen.
const DEPTH_MAX: usize = 32;

/// The most bytes of text in one element. The longest text that a bank may write has 500
/// characters.
const TEXT_MAX: usize = 4_096;

/// The depth of a message's pieces: below the document, the message and the statement.
const PIECE_DEPTH: usize = 3;

/// Why a file is not accepted as XML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlFault {
    /// Too long.
    #[error("it is longer than {} MiB", FILE_MAX / 1_024 / 1_024)]
    TooLong,
    /// Not in UTF-8.
    #[error("it is not in UTF-8")]
    NotUtf8,
    /// A document type declaration.
    #[error("it declares a document type (DTD), as no bank does; it is not read")]
    Dtd,
    /// A reference to an entity that is not in the file.
    #[error("it refers to an entity, `&{0};`, which is not resolved here")]
    Entity(String),
    /// Elements nested too deeply.
    #[error("its elements are more than {} deep", DEPTH_MAX)]
    TooDeep,
    /// A text that is too long.
    #[error("its element {0} has more than {max} bytes of text", max = TEXT_MAX)]
    TextTooLong(String),
    /// The file is truncated.
    #[error("it ends in the middle, within {0}: is the file whole?")]
    Torn(String),
    /// Not XML.
    #[error("it is not XML: {0}")]
    Malformed(String),
}

/// An element with its content. Names are without their prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    /// The attribute `Ccy`, the only one that is read.
    pub(super) currency: Option<String>,
    text: String,
    children: Vec<Self>,
}

impl Element {
    /// Its direct children of this name.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first element at this path.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| {
            element.children.iter().find(|child| child.name == *name)
        })
    }

    /// The element's own text, trimmed.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The text at this path, if any.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(Self::text).filter(|text| !text.is_empty())
    }
}

/// Receives the parts of a document.
pub(super) trait Collect {
    /// Why it fails.
    type Fault: From<XmlFault>;

    /// A message begins, directly below the document.
    fn message(&mut self, name: &str) -> Result<(), Self::Fault>;

    /// A piece below the message, such as an entry of a statement.
    fn piece(&mut self, piece: Element) -> Result<(), Self::Fault>;

    /// The element that contained the pieces is complete.
    fn part(&mut self, name: &str) -> Result<(), Self::Fault>;
}

/// Reads a document to its end.
pub(super) fn read<C: Collect>(file: &[u8], into: &mut C) -> Result<(), C::Fault> {
    if file.len() > FILE_MAX {
        return Err(XmlFault::TooLong.into());
    }
    let text = std::str::from_utf8(file).map_err(|_other| XmlFault::NotUtf8)?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut open = Open::default();
    loop {
        let event = reader.read_event();
        match event.map_err(|error| XmlFault::Malformed(as_one_line(&error.to_string(), 200)))? {
            Event::Start(start) => open.begin(&start, into)?,
            Event::End(_) => open.end(into)?,
            Event::Empty(start) => {
                open.begin(&start, into)?;
                open.end(into)?;
            }
            Event::Text(text) => open.add(&decoded(text.xml10_content())?)?,
            Event::CData(text) => open.add(&decoded(text.xml10_content())?)?,
            Event::GeneralRef(reference) => {
                let letter = letter_of(&reference)?;
                open.add(letter.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err(XmlFault::Dtd.into()),
            Event::Decl(declaration) => is_utf8(&declaration)?,
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return open.at_the_end().map_err(Into::into),
        }
    }
}

/// The open elements.
#[derive(Default)]
struct Open {
    stack: Vec<Element>,
    has_ended: bool,
}

impl Open {
    fn begin<C: Collect>(&mut self, start: &BytesStart<'_>, into: &mut C) -> Result<(), C::Fault> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(XmlFault::TooDeep.into());
        }
        if self.has_ended {
            let why = "a second document after the first".to_owned();
            return Err(XmlFault::Malformed(why).into());
        }
        let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
        if self.stack.len() == 1 {
            into.message(&name)?;
        }
        self.stack.push(Element { name, currency: currency_of(start)?, ..Element::default() });
        Ok(())
    }

    /// The reader guarantees that the closed element is the one opened last.
    fn end<C: Collect>(&mut self, into: &mut C) -> Result<(), C::Fault> {
        let Some(element) = self.stack.pop() else {
            return Err(XmlFault::Malformed("an end without a beginning".to_owned()).into());
        };
        self.has_ended = self.stack.is_empty();
        match self.stack.len() {
            0 | 1 => Ok(()),
            2 => into.part(&element.name),
            PIECE_DEPTH => into.piece(element),
            _ => {
                if let Some(parent) = self.stack.last_mut() {
                    parent.children.push(element);
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, text: &str) -> Result<(), XmlFault> {
        let Some(element) = self.stack.last_mut() else {
            let is_nothing = text.trim().is_empty();
            let why = "text outside of its elements".to_owned();
            return if is_nothing { Ok(()) } else { Err(XmlFault::Malformed(why)) };
        };
        if element.text.len().saturating_add(text.len()) > TEXT_MAX {
            return Err(XmlFault::TextTooLong(as_one_line(&element.name, 50)));
        }
        element.text.push_str(text);
        Ok(())
    }

    fn at_the_end(&self) -> Result<(), XmlFault> {
        match self.stack.last() {
            Some(element) => Err(XmlFault::Torn(as_one_line(&element.name, 50))),
            None if self.has_ended => Ok(()),
            None => Err(XmlFault::Malformed("there is nothing in it".to_owned())),
        }
    }
}

fn decoded<T, E: std::fmt::Display>(text: Result<T, E>) -> Result<T, XmlFault> {
    text.map_err(|error| XmlFault::Malformed(as_one_line(&error.to_string(), 200)))
}

fn currency_of(start: &BytesStart<'_>) -> Result<Option<String>, XmlFault> {
    let found = decoded(start.try_get_attribute("Ccy"))?;
    Ok(found.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned()))
}

/// XML's five predefined entities, and character references.
fn letter_of(reference: &BytesRef<'_>) -> Result<char, XmlFault> {
    let name = decoded(reference.decode())?;
    let unknown = || XmlFault::Entity(as_one_line(&name, 50));
    match &*name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => decoded(reference.resolve_char_ref())?.ok_or_else(unknown),
    }
}

fn is_utf8(declaration: &BytesDecl<'_>) -> Result<(), XmlFault> {
    let Some(encoding) = declaration.encoding() else { return Ok(()) };
    let encoding = decoded(encoding)?;
    let is_one = ["utf-8", "utf8", "us-ascii"]
        .iter()
        .any(|known| encoding.eq_ignore_ascii_case(known.as_bytes()));
    if is_one { Ok(()) } else { Err(XmlFault::NotUtf8) }
}
