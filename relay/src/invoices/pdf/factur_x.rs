//! The PDF/A-3b file around the pages, with the CII as `factur-x.xml` and the metadata that declare
//! it.
//!
//! Factur-X metadata need a schema of their own, which krilla does not write. So all metadata are
//! written here, and replace krilla's.

use chrono::{Datelike as _, NaiveDate};
use krilla::configure::{Archival, ConfigurationBuilder};
use krilla::embed::{AssociationKind, EmbeddedFile, MimeType};
use krilla::metadata::{DateTime, Metadata};
use krilla::{Document, SerializeSettings};
use lopdf::Document as Read;
use xmp_writer::{CustomNamespace, LangId, Namespace, Timezone, XmpWriter};

use super::PdfError;
use super::sheets::Sheets;
use crate::invoices::shown::Shown;

/// The embedded file's name, as Factur-X requires.
const FILE: &str = "factur-x.xml";

/// The Factur-X properties, with their description and value.
const PROPERTIES: [(&str, &str, &str); 4] = [
    ("DocumentFileName", "The name of the embedded XML document", FILE),
    ("DocumentType", "The type of the hybrid document in capital letters", "INVOICE"),
    ("Version", "The version of the standard that applies to the embedded XML document", "1.0"),
    ("ConformanceLevel", "The conformance level of the embedded XML document", "EN 16931"),
];

const CREATOR: &str = "Ordersaga";
const LANGUAGE: &str = "en";

/// Writes the file.
///
/// **Errors.** It would not conform to PDF/A-3b.
pub(super) fn write(sheets: &Sheets, shown: &Shown, cii: &str) -> Result<Vec<u8>, PdfError> {
    let not_archival = |what: &str| PdfError::NotArchival(what.to_owned());
    let configuration = ConfigurationBuilder::new().with_archival_validator(Archival::A3_B);
    let configuration =
        configuration.finish().map_err(|_unfit| not_archival("there is no such configuration"))?;
    let settings = SerializeSettings { configuration, ..SerializeSettings::default() };
    let mut file = Document::new_with(settings);
    let (year, month, day) = calendar(shown.issued_on);
    let issued_on = DateTime::new(year).month(month).day(day).hour(0).minute(0).second(0);
    let issued_on = issued_on.utc_offset_hour(0);
    let metadata = Metadata::new().title(title(shown)).creator(CREATOR.to_owned());
    let metadata = metadata.language(LANGUAGE.to_owned()).creation_date(issued_on);
    file.set_metadata(metadata.document_id(shown.number.clone()));
    file.embed_file(EmbeddedFile {
        path: FILE.to_owned(),
        mime_type: MimeType::new("text/xml"),
        description: Some("The same document as UN/CEFACT CII, by EN 16931".to_owned()),
        association_kind: AssociationKind::Alternative,
        data: cii.as_bytes().to_vec().into(),
        modification_date: Some(issued_on),
        compress: Some(true),
        location: None,
    });
    sheets.draw(&mut file)?;
    // Only the error's message is kept: its details may repeat a text.
    let written = file.finish().map_err(|error| not_archival(&error.to_string()))?;
    with_metadata(&written, &metadata_of(shown))
        .map_err(|error| PdfError::Metadata(error.to_string()))
}

/// Replaces the file's metadata.
fn with_metadata(file: &[u8], metadata: &str) -> Result<Vec<u8>, lopdf::Error> {
    let mut file = Read::load_mem(file)?;
    let place = file.catalog()?.get(b"Metadata")?.as_reference()?;
    file.get_object_mut(place)?.as_stream_mut()?.set_plain_content(metadata.as_bytes().to_vec());
    let mut written = Vec::new();
    file.save_to(&mut written)?;
    Ok(written)
}

/// The file's metadata as XMP.
fn metadata_of(shown: &Shown) -> String {
    let factur_x = Namespace::Custom(Box::new(CustomNamespace::new(
        "Factur-X PDFA Extension",
        "fx",
        "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#",
    )));
    let (year, month, day) = calendar(shown.issued_on);
    let issued_on = xmp_writer::DateTime::new(year, month, day, 0, 0, 0, Timezone::Utc);
    let mut xmp = XmpWriter::new();
    xmp.title([(None, title(shown).as_str())]);
    xmp.language([LangId(LANGUAGE)]).format("application/pdf").creator_tool(CREATOR);
    xmp.create_date(issued_on).modify_date(issued_on);
    xmp.pdfa_part(3).pdfa_conformance("B");
    let mut schemas = xmp.extension_schemas();
    let mut schema = schemas.add_schema();
    schema.namespace(factur_x.clone());
    let mut properties = schema.properties();
    for (name, meaning, _) in PROPERTIES {
        let mut property = properties.add_property();
        property.name(name).value_type("Text").category(false).description(meaning);
    }
    drop(properties);
    drop(schema);
    drop(schemas);
    for (name, _, value) in PROPERTIES {
        xmp.element(name, factur_x.clone()).value(value);
    }
    xmp.finish(None)
}

fn title(shown: &Shown) -> String {
    format!("{} {}", shown.title, shown.number)
}

/// A day as a PDF date, whose years are 0 to 9999, like those of EN 16931.
fn calendar(day: NaiveDate) -> (u16, u8, u8) {
    let small = |number: u32| u8::try_from(number).unwrap_or_default();
    (u16::try_from(day.year()).unwrap_or_default(), small(day.month()), small(day.day()))
}
