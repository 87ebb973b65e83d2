//! The templates of the mails, which a shop can replace: one folder per locale, and three files per
//! mail.
//!
//! | file | content |
//! |---|---|
//! | `confirmed.subject.txt` | the subject, on one line |
//! | `confirmed.txt` | the plain text |
//! | `confirmed.html` | the HTML; values of an order or a customer are escaped |
//! | `shipped.sms.txt` | the text message, if there is one |
//! | `layout.html` | the frame of all HTML of the locale |
//! | `formats.json` | how the locale writes amounts and times |
//!
//! All templates are rendered with samples at startup. An unknown variable is an error then, with
//! file and line, even in a branch that no sample reaches.

mod built_in;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use domain::{MailTemplate, MoneyError, as_one_line};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use strum::IntoEnumIterator as _;

use self::built_in::BUILT_IN;
use super::letter::{Letter, Shop};
use super::locale::Formats;

/// Longer subjects are truncated; RFC 5322 limits a line to 998 characters.
const SUBJECT_MAX: usize = 200;

/// The required files of every mail.
const PARTS: [&str; 3] = ["subject.txt", "txt", "html"];
const SMS: &str = "sms.txt";
const LAYOUT: &str = "layout.html";
const FORMATS: &str = "formats.json";

/// Names provided by minijinja itself.
const BROUGHT: [&str; 6] = ["range", "dict", "debug", "namespace", "loop", "super"];

/// Why the templates cannot be used. Contains nothing of a mail's content.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The folder cannot be read.
    #[error("the templates in {0} cannot be read")]
    Folder(String, #[source] io::Error),
    /// A file that belongs to no template.
    #[error(
        "{0} is no file of a mail: the name of a mail, and .subject.txt, .txt, .html or .sms.txt"
    )]
    Stray(String),
    /// A file of a mail is missing in a locale.
    #[error("{0} is missing")]
    Missing(String),
    /// The fallback locale has no templates.
    #[error("there are no templates for the locale {0}")]
    NoLocale(String),
    /// A locale's formats are invalid.
    #[error("{file}: {source}")]
    Formats {
        /// The file.
        file: String,
        /// The error.
        source: serde_json::Error,
    },
    /// A template uses an unknown variable.
    #[error("{file}:{line}: there is no variable `{variable}` in this mail")]
    UnknownVariable {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The variable.
        variable: String,
    },
    /// A template has a syntax error, or fails to render.
    #[error("{file}:{line}: {what}")]
    Broken {
        /// The file.
        file: String,
        /// The line, from 1; 0 if there is none.
        line: usize,
        /// The error.
        what: String,
    },
    /// A sample cannot be created.
    #[error("the sample of a mail has an invalid amount")]
    Sample(#[from] MoneyError),
}

/// A rendered mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The subject, on one line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The HTML.
    pub html: String,
}

/// The templates of all locales, all of them tested.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    formats: BTreeMap<String, Formats>,
    fallback: String,
    shop: Shop,
}

/// Templates by name, such as `en/confirmed.txt`, each with its text and its file.
type Sources = BTreeMap<String, (String, String)>;

impl Templates {
    /// Loads the built-in templates, replaces those that the folder contains, and tests all. The
    /// mails in `text_messages` need a text message template, too.
    pub fn load(
        folder: Option<&Path>,
        fallback: &str,
        shop: Shop,
        text_messages: &[MailTemplate],
    ) -> Result<Self, TemplateError> {
        let mut sources: Sources = BUILT_IN
            .iter()
            .map(|(name, text)| {
                ((*name).to_owned(), (format!("(built in) {name}"), (*text).to_owned()))
            })
            .collect();
        if let Some(folder) = folder {
            read_folder(folder, &mut sources)?;
        }
        let formats = formats_of(&sources)?;
        if !formats.contains_key(fallback) {
            return Err(TemplateError::NoLocale(fallback.to_owned()));
        }
        for locale in formats.keys() {
            check_whole(locale, &sources, text_messages)?;
        }
        let environment = environment_of(&sources)?;
        let templates = Self { environment, formats, fallback: fallback.to_owned(), shop };
        templates.try_all(&sources)?;
        Ok(templates)
    }

    /// The locale for a customer who prefers this one: the same, its language, or the fallback.
    #[must_use]
    pub fn locale(&self, wanted: Option<&str>) -> &str {
        let known = |name: &str| self.formats.get_key_value(name).map(|(name, _)| name.as_str());
        let wanted = wanted.unwrap_or(&self.fallback);
        let language = wanted.split('-').next().unwrap_or_default();
        known(wanted).or_else(|| known(language)).unwrap_or(&self.fallback)
    }

    /// Renders a mail.
    pub fn write(
        &self,
        template: MailTemplate,
        locale: &str,
        letter: &Letter,
    ) -> Result<Written, TemplateError> {
        let variables = self.variables(locale, letter)?;
        let part = |part: &str| self.render(&format!("{locale}/{template}.{part}"), &variables);
        let [subject, text, html] = PARTS;
        let subject = as_one_line(&part(subject)?, SUBJECT_MAX);
        Ok(Written { subject, text: part(text)?, html: part(html)? })
    }

    /// Renders a text message.
    pub fn write_text_message(
        &self,
        template: MailTemplate,
        locale: &str,
        letter: &Letter,
    ) -> Result<String, TemplateError> {
        let variables = self.variables(locale, letter)?;
        let text = self.render(&format!("{locale}/{template}.{SMS}"), &variables)?;
        Ok(text.trim().to_owned())
    }

    fn variables(&self, locale: &str, letter: &Letter) -> Result<Value, TemplateError> {
        let formats = self.formats.get(locale);
        let formats = formats.ok_or_else(|| TemplateError::NoLocale(locale.to_owned()))?;
        Ok(Value::from(Serde(letter.variables(&self.shop, formats))))
    }

    fn render(&self, name: &str, variables: &Value) -> Result<String, TemplateError> {
        let rendered = self.environment.get_template(name);
        let rendered = rendered.and_then(|template| template.render(variables.clone()));
        rendered.map_err(|error| broken(name, &error, str::to_owned))
    }

    /// Renders every template with its samples, and checks its variables.
    fn try_all(&self, sources: &Sources) -> Result<(), TemplateError> {
        let file = |name: &str| {
            sources.get(name).map_or_else(|| name.to_owned(), |(file, _)| file.clone())
        };
        for (locale, formats) in &self.formats {
            let mut common: Option<BTreeSet<String>> = None;
            for template in MailTemplate::iter() {
                let samples = Letter::samples(template)?;
                let [full, _] = &samples;
                let known = paths(&full.variables(&self.shop, formats));
                let parts = PARTS.into_iter().chain([SMS]);
                let parts = parts.map(|part| format!("{locale}/{template}.{part}"));
                for name in parts.filter(|name| sources.contains_key(name)) {
                    self.check_names(&name, &known, sources)?;
                    for sample in &samples {
                        let variables = self.variables(locale, sample)?;
                        let template = self.environment.get_template(&name);
                        let rendered = template.and_then(|template| template.render(variables));
                        rendered.map_err(|error| broken(&name, &error, file))?;
                    }
                }
                common = Some(match common {
                    None => known,
                    Some(common) => &common & &known,
                });
            }
            self.check_names(&format!("{locale}/{LAYOUT}"), &common.unwrap_or_default(), sources)?;
        }
        Ok(())
    }

    /// Checks that all variables in the template exist, including those in branches that no sample
    /// reaches.
    fn check_names(
        &self,
        name: &str,
        known: &BTreeSet<String>,
        sources: &Sources,
    ) -> Result<(), TemplateError> {
        let Some((file, source)) = sources.get(name) else { return Ok(()) };
        let template = self.environment.get_template(name);
        let template = template.map_err(|error| broken(name, &error, |_name| file.clone()))?;
        let named: BTreeSet<_> = template.undeclared_variables(true).into_iter().collect();
        let is_brought = |path: &String| BROUGHT.iter().any(|brought| path == brought);
        let unknown = named.into_iter().find(|path| !known.contains(path) && !is_brought(path));
        let Some(variable) = unknown else { return Ok(()) };
        let line = source.lines().position(|line| line.contains(&variable)).unwrap_or_default();
        Err(TemplateError::UnknownVariable {
            file: file.clone(),
            line: line.saturating_add(1),
            variable,
        })
    }
}

/// Replaces templates with the folder's files.
fn read_folder(folder: &Path, sources: &mut Sources) -> Result<(), TemplateError> {
    let failed = |path: &Path, error| TemplateError::Folder(path.display().to_string(), error);
    for locale in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let locale = locale.map_err(|error| failed(folder, error))?.path();
        if !locale.is_dir() {
            continue;
        }
        let name = locale.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        for file in fs::read_dir(&locale).map_err(|error| failed(&locale, error))? {
            let file = file.map_err(|error| failed(&locale, error))?.path();
            let own = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Temporary files of editors.
            if own.starts_with('.') || own.ends_with('~') {
                continue;
            }
            let shown = file.display().to_string();
            if !is_part(&own) {
                return Err(TemplateError::Stray(shown));
            }
            let text = fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
            sources.insert(format!("{name}/{own}"), (shown, text));
        }
    }
    Ok(())
}

/// Whether a locale can have a file of this name.
fn is_part(file: &str) -> bool {
    let is_of_a_mail = || {
        let (mail, part) = file.split_once('.')?;
        mail.parse::<MailTemplate>().ok()?;
        Some(PARTS.contains(&part) || part == SMS)
    };
    file == LAYOUT || file == FORMATS || is_of_a_mail().unwrap_or(false)
}

/// The formats of each locale.
fn formats_of(sources: &Sources) -> Result<BTreeMap<String, Formats>, TemplateError> {
    let locales: BTreeSet<&str> =
        sources.keys().filter_map(|name| Some(name.split_once('/')?.0)).collect();
    let read = |locale: &str| {
        let name = format!("{locale}/{FORMATS}");
        let Some((file, text)) = sources.get(&name) else {
            return Err(TemplateError::Missing(name));
        };
        let formats = serde_json::from_str(text)
            .map_err(|source| TemplateError::Formats { file: file.clone(), source })?;
        Ok((locale.to_owned(), formats))
    };
    locales.into_iter().map(read).collect()
}

/// Checks that a locale has every part of every mail.
fn check_whole(
    locale: &str,
    sources: &Sources,
    text_messages: &[MailTemplate],
) -> Result<(), TemplateError> {
    let parts = MailTemplate::iter().flat_map(|template| PARTS.map(|part| (template, part)));
    let messages = text_messages.iter().map(|template| (*template, SMS));
    let mut needed =
        parts.chain(messages).map(|(template, part)| format!("{locale}/{template}.{part}"));
    let missing = needed.find(|name| !sources.contains_key(name));
    missing.map_or(Ok(()), |name| Err(TemplateError::Missing(name)))
}

fn environment_of(sources: &Sources) -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, (file, text)) in sources {
        if name.ends_with(FORMATS) {
            continue;
        }
        let added = environment.add_template_owned(name.clone(), text.clone());
        added.map_err(|error| broken(name, &error, |_name| file.clone()))?;
    }
    Ok(environment)
}

/// A template's error with its position, and without values.
fn broken(name: &str, error: &minijinja::Error, file: impl Fn(&str) -> String) -> TemplateError {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    TemplateError::Broken {
        file: file(error.name().unwrap_or(name)),
        line: error.line().unwrap_or_default(),
        what,
    }
}

/// All paths in the variables, such as `order` and `order.total`.
fn paths(variables: &serde_json::Value) -> BTreeSet<String> {
    fn add(before: &str, value: &serde_json::Value, paths: &mut BTreeSet<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let path = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
            add(&path, value, paths);
            paths.insert(path);
        }
    }
    let mut all = BTreeSet::new();
    add("", variables, &mut all);
    all
}

#[cfg(test)]
mod tests;
