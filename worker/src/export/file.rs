//! Writes the books to a file atomically: the whole file, or none.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process;

use sqlx::PgPool;

use super::{ExportError, Exported, Format, export};

/// Like [`export`], but writes to a file, whose old content is kept until the new one is complete.
pub async fn export_into(
    pool: &PgPool,
    format: Format,
    path: &Path,
    told: impl FnMut(usize),
) -> Result<Exported, ExportError> {
    let path = target(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.partial", process::id()));
    let written = write(pool, format, &partial, told).await;
    let done = written.and_then(|exported| {
        fs::rename(&partial, &path)?;
        Ok(exported)
    });
    if done.is_err() {
        fs::remove_file(&partial).ok();
    }
    done
}

/// Resolves a symbolic link. A device or a pipe must not be replaced by a file.
fn target(path: &Path) -> Result<PathBuf, ExportError> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => Ok(fs::canonicalize(path)?),
        Ok(_something_else) => Err(ExportError::NotAFile(path.to_owned())),
        Err(_not_there_yet) => Ok(path.to_owned()),
    }
}

async fn write(
    pool: &PgPool,
    format: Format,
    path: &Path,
    told: impl FnMut(usize),
) -> Result<Exported, ExportError> {
    let mut out = BufWriter::new(File::create(path)?);
    let exported = export(pool, format, &mut out, told).await?;
    out.get_ref().sync_all()?;
    Ok(exported)
}
