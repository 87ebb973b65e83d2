//! Which cells there are.

use std::collections::BTreeSet;

use crate::cell::{Cancel, Cell, Moment, Point, Trouble, Way};
use crate::run::Outcome;

const WAYS: [Way; 3] = [Way::Signal, Way::Temporal, Way::Update];

/// Every trouble at every point, and nobody cancels.
pub fn undisturbed(points: &BTreeSet<Point>) -> Vec<Cell> {
    let cells = points.iter().flat_map(|point| {
        Trouble::ALL
            .into_iter()
            .filter(|trouble| !trouble.is_a_death() && trouble.can_happen_to(point))
            .map(|trouble| Cell { point: point.clone(), trouble, cancel: None })
    });
    cells.collect()
}

/// The same again with a cancel: while each call is under way, and wherever the undisturbed
/// order's history lets one in between. A slice takes every call, and a few of the events.
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

/// A death at every point, and a cancel while nobody serves. A slice takes each point once.
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

/// A slice has every so manyth of the cancels. Prime to the number of ways and to what points
/// have in common, so that it meets all of them.
const SLICE: usize = 7;
