mod steps;
pub use steps::*;
