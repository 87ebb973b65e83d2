//! The document as an HTML page.
//!
//! User input, such as the buyer's name, is escaped: the template's name marks it as HTML. An error
//! of the template names its position, and no value.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};

use super::paper::Paper;
use super::shown::Shown;

/// The extension enables escaping.
const NAME: &str = "invoice.html";

/// The built-in template.
const BUILT_IN: &str = include_str!("../../templates/invoice/invoice.html");

/// Why a page cannot be written. Contains no personal data.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The shop's own template cannot be read.
    #[error("the template {} cannot be read", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// It has an error at this line.
    #[error("the template for invoices is wrong in line {line}: {what}")]
    Wrong {
        /// Counted from 1; 0 if that is not known.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A document's amounts cannot be added.
    #[error(transparent)]
    Money(#[from] domain::MoneyError),
}

/// Renders pages.
pub struct Pages {
    environment: Environment<'static>,
}

impl Pages {
    /// Uses the shop's own template, or the built-in one.
    ///
    /// **Errors.** The template cannot be read, or is invalid.
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

    /// Renders the document.
    ///
    /// **Errors.** The template uses a variable that a document does not have.
    pub fn write(&self, paper: &Paper<'_>) -> Result<String, TemplateError> {
        let shown = Serde(Shown::of(paper)?);
        let template = self.environment.get_template(NAME);
        let written = template.and_then(|template| template.render(shown));
        written.map_err(|error| wrong(&error))
    }
}

/// Omits the error's detail, which may repeat a value.
fn wrong(error: &minijinja::Error) -> TemplateError {
    TemplateError::Wrong { line: error.line().unwrap_or_default(), what: error.kind().to_string() }
}
