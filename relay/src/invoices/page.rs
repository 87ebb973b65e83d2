//! The document as an HTML page.
//!
//! Whatever somebody else has written, such as the buyer's name, is escaped: the template's name says
//! that it is HTML. An error of the template tells where it is, and no value.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};

use super::paper::Paper;
use super::shown::Shown;

/// Its ending has everything escaped.
const NAME: &str = "invoice.html";

/// The template that the program brings.
const BUILT_IN: &str = include_str!("../../templates/invoice/invoice.html");

/// Why a page cannot be written. It tells no personal data.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The shop's own template cannot be read.
    #[error("the template {} cannot be read", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// It is wrong at this line.
    #[error("the template for invoices is wrong in line {line}: {what}")]
    Wrong {
        /// Counted from 1; 0 if that is not known.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A document's amounts cannot be added up.
    #[error(transparent)]
    Money(#[from] domain::MoneyError),
}

/// Writes pages.
pub struct Pages {
    environment: Environment<'static>,
}

impl Pages {
    /// With the shop's own template, or with the one that the program brings.
    ///
    /// **Errors.** It cannot be read, or is none.
    pub fn open(own: Option<&Path>) -> Result<Self, TemplateError> {
        let source = match own {
            None => BUILT_IN.to_owned(),
            Some(path) => fs::read_to_string(path)
                .map_err(|error| TemplateError::File(path.to_owned(), error))?,
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_template_owned(NAME, source).map_err(|error| wrong(&error))?;
        Ok(Self { environment })
    }

    /// Writes the document down.
    ///
    /// **Errors.** The template names something that a document has not.
    pub fn write(&self, paper: &Paper<'_>) -> Result<String, TemplateError> {
        let shown = Serde(Shown::of(paper)?);
        let template = self.environment.get_template(NAME);
        let written = template.and_then(|template| template.render(shown));
        written.map_err(|error| wrong(&error))
    }
}

/// Without the error's detail, which may repeat a value.
fn wrong(error: &minijinja::Error) -> TemplateError {
    TemplateError::Wrong { line: error.line().unwrap_or_default(), what: error.kind().to_string() }
}
