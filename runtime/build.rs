//! Rebuilds this crate when a migration is added or changed, because the crate embeds them.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
    println!("cargo:rerun-if-changed=build.rs");
}
