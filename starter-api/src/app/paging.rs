//! Cursor pagination. Unlike page numbers, a cursor neither repeats nor skips items when entries
//! are added in between.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::input::number_as_written;

/// The page size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct PageSize(u16);

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// The cursor of the next page; absent on the last page. It is opaque, and its format may
    /// change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl PageSize {
    const MAX: u16 = 100;

    /// The number of rows to read: the extra one tells whether there is a next page.
    pub(crate) fn to_read(self) -> i64 {
        i64::from(self.0).saturating_add(1)
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(20)
    }
}

impl TryFrom<u16> for PageSize {
    type Error = &'static str;

    fn try_from(items: u16) -> Result<Self, Self::Error> {
        if (1..=Self::MAX).contains(&items) {
            Ok(Self(items))
        } else {
            Err("a page has 1 to 100 items")
        }
    }
}

impl TryFrom<String> for PageSize {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // Text that is not a number becomes 0, which is out of range.
        Self::try_from(number_as_written::<u16>(&text).unwrap_or_default())
    }
}

impl<T> Page<T> {
    /// Makes a page of the rows read, which include an extra one if there is a next page.
    pub(crate) fn of(
        mut read: Vec<T>,
        size: PageSize,
        cursor_after: impl FnOnce(&T) -> String,
    ) -> Self {
        let full = read.len() > usize::from(size.0);
        read.truncate(usize::from(size.0));
        let next_cursor = read.last().filter(|_last| full).map(cursor_after);
        Self { items: read, next_cursor }
    }
}
