//! Rebuilds this crate when a migration is added or changed: it embeds the folder.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
    println!("cargo:rerun-if-changed=build.rs");
}
