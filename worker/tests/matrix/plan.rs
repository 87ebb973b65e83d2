//! The cells of the matrix.

use std::collections::BTreeSet;

use crate::cell::{Cancel, Cell, Moment, Point, Trouble, Way};
use crate::run::Outcome;

const WAYS: [Way; 3] = [Way::Signal, Way::Temporal, Way::Update];

/// Every fault at every point, without cancellation.
pub fn undisturbed(points: &BTreeSet<Point>) -> Vec<Cell> {
    let cells = points.iter().flat_map(|point| {
        Trouble::ALL
            .into_iter()
            .filter(|trouble| !trouble.is_a_death() && trouble.can_happen_to(point))
            .map(|trouble| Cell { point: point.clone(), trouble, cancel: None })
    });
    cells.collect()
}

/// The same with a cancellation: during each call, and at each event of the undisturbed history
/// that allows one. A slice includes every call, and some of the events.
pub fn cancelled(points: &BTreeSet<Point>, undisturbed: &[Outcome], whole: bool) -> Vec<Cell> {
    let mut ways = WAYS.into_iter().cycle();
    let mut way = move || ways.next().unwrap_or(Way::Signal);
    let mut cells = Vec::new();
    for point in points {
        for moment in [Moment::BeforeEffect, Moment::AfterEffect] {
            for way in [Way::Signal, Way::Temporal] {
                let cancel = Some(Cancel { moment, way });
                cells.push(Cell { point: point.clone(), trouble: Trouble::Nothing, cancel });
            }
        }
    }
    let mut slice = (0..).map(|place: usize| whole || place.is_multiple_of(SLICE));
    for Outcome { cell, openings, .. } in undisturbed {
        for event in openings {
            let cancel = Cancel { moment: Moment::Event(*event), way: way() };
            if slice.next().unwrap_or(true) {
                cells.push(Cell { cancel: Some(cancel), ..cell.clone() });
            }
        }
    }
    cells
}

/// A death at every point, and a cancellation while no worker runs. A slice includes each point
/// once.
pub fn deaths(points: &BTreeSet<Point>, whole: bool) -> Vec<Cell> {
    let cancels = [None, Some(Way::Signal), Some(Way::Temporal)]
        .map(|way| way.map(|way| Cancel { moment: Moment::WhileDead, way }));
    let cells = points.iter().zip(cancels.into_iter().cycle()).flat_map(|(point, in_turn)| {
        let all = [Trouble::Dies, Trouble::DiesLong]
            .into_iter()
            .filter(|trouble| trouble.can_happen_to(point))
            .flat_map(move |trouble| cancels.map(|cancel| (trouble, cancel)));
        let chosen = if whole { all.collect() } else { vec![(Trouble::Dies, in_turn)] };
        chosen.into_iter().map(|(trouble, cancel)| Cell { point: point.clone(), trouble, cancel })
    });
    cells.collect()
}

/// A slice includes one in this many cancellations. Coprime to the number of ways and to periods of
/// the points, so that it covers all of them.
const SLICE: usize = 7;
