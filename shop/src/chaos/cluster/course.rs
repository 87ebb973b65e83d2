//! The faults, each as a sequence of requests to the launcher.

use std::time::Duration;

/// The faults of a cluster, in the order in which they are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, strum::EnumIter)]
pub(super) enum Fault {
    /// The programs of an earlier release are replaced by this one's. First, so that all other
    /// faults meet this release.
    Upgrade,
    /// A node is killed and restarted.
    NodeKilled,
    /// A node is killed and replaced much later.
    NodeLost,
    /// A node is stopped, with its connections open.
    NodeHangs,
    /// A host is disconnected from all others.
    HostCutOff,
    /// Two hosts are disconnected from each other, and reach all others.
    TwoHostsCut,
    /// All nodes are killed at once.
    AllNodesKilled,
    /// Temporal's own Postgres is killed.
    TemporalPostgresKilled,
    /// The shop's Postgres is killed.
    ShopPostgresKilled,
    /// Every node and every program is restarted gracefully, one after the other.
    RollingRestart,
    /// A backup of Temporal's Postgres is restored. Last, because Temporal loses everything after
    /// the backup.
    TemporalPostgresSetBack,
}

/// One step of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A request to the launcher for this service.
    Wish(&'static str, &'static str),
    /// Waits.
    Wait(Duration),
    /// An operator runs `ordersaga recover`, once everything answers.
    Recover,
}

/// The steps of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    /// While orders are placed.
    pub(super) steps: Vec<Step>,
    /// How many nodes are running after that.
    pub(super) members: u32,
    /// Once every order has ended.
    pub(super) afterwards: Vec<Step>,
}

/// The launcher's names.
pub(super) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const WORKERS: [&str; 2] = ["worker", "second-worker"];
const STARTERS: [&str; 2] = ["starter", "second-starter"];
const TEMPORALS_POSTGRES: &str = "temporal-postgres";

impl Fault {
    /// Its description for people.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Upgrade => "a rolling upgrade of the programs",
            Self::NodeKilled => "a node is killed",
            Self::NodeLost => "a node is lost for good",
            Self::NodeHangs => "a node hangs",
            Self::HostCutOff => "a host is cut off",
            Self::TwoHostsCut => "two hosts are cut from each other",
            Self::AllNodesKilled => "all nodes are killed",
            Self::TemporalPostgresKilled => "Temporal's Postgres is killed",
            Self::ShopPostgresKilled => "the shop's Postgres is killed",
            Self::RollingRestart => "a rolling restart",
            Self::TemporalPostgresSetBack => "Temporal's Postgres is set back",
        }
    }

    /// The steps of this fault, with this many starters.
    pub(super) fn course(self, starters: usize) -> Course {
        let (mut members, mut afterwards) = (3, Vec::new());
        let starters = STARTERS.iter().take(starters);
        let steps = match self {
            Self::Upgrade => {
                afterwards.push(Step::Wish("retire-old", "worker"));
                upgrade(starters)
            }
            Self::NodeKilled => lasting(("kill", "start"), "node-2", 20),
            Self::NodeLost => {
                members = 2;
                afterwards.push(Step::Wish("start", "node-3"));
                vec![Step::Wish("kill", "node-3"), Step::Wait(Duration::from_secs(30))]
            }
            Self::NodeHangs => lasting(("hang", "go-on"), "node-2", 25),
            Self::HostCutOff => lasting(("cut-off", "mend"), "node-2", 20),
            Self::TwoHostsCut => lasting(("cut-between", "mend"), "node-2", 20),
            Self::AllNodesKilled => {
                let wait = Step::Wait(Duration::from_secs(5));
                [all("kill", &NODES), vec![wait], all("start", &NODES)].concat()
            }
            Self::TemporalPostgresKilled => lasting(("kill", "start"), TEMPORALS_POSTGRES, 5),
            Self::ShopPostgresKilled => lasting(("kill", "start"), "postgres", 5),
            Self::RollingRestart => NODES
                .iter()
                .chain(&WORKERS)
                .chain(starters)
                .flat_map(|name| [Step::Wish("restart", name), Step::Wait(Duration::from_secs(5))])
                .collect(),
            Self::TemporalPostgresSetBack => set_back(),
        };
        Course { steps, members, afterwards }
    }
}

fn lasting(
    (begin, end): (&'static str, &'static str),
    whom: &'static str,
    seconds: u64,
) -> Vec<Step> {
    vec![Step::Wish(begin, whom), Step::Wait(Duration::from_secs(seconds)), Step::Wish(end, whom)]
}

fn all(wish: &'static str, whom: &[&'static str]) -> Vec<Step> {
    whom.iter().map(|name| Step::Wish(wish, name)).collect()
}

/// As described in docs/deploys.md.
fn upgrade<'a>(starters: impl Iterator<Item = &'a &'static str>) -> Vec<Step> {
    let mut steps = vec![
        Step::Wish("migrate", "starter"),
        Step::Wish("start-new", "worker"),
        Step::Wish("make-current", "worker"),
        Step::Wait(Duration::from_secs(5)),
    ];
    for name in starters {
        steps.extend([Step::Wish("upgrade", name), Step::Wait(Duration::from_secs(5))]);
    }
    steps.push(Step::Wish("upgrade", "relay"));
    steps
}

/// The nodes are stopped while the backup is restored, and one of them starts first.
fn set_back() -> Vec<Step> {
    let orders_go_on = Step::Wait(Duration::from_secs(30));
    [
        vec![Step::Wish("back-up", TEMPORALS_POSTGRES), orders_go_on],
        all("kill", &NODES),
        vec![Step::Wish("set-back", TEMPORALS_POSTGRES)],
        all("start", &NODES),
        vec![Step::Wait(Duration::from_secs(15)), Step::Recover],
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use strum::IntoEnumIterator as _;

    use super::*;

    /// How often each service gets each of two opposite requests.
    fn balance(course: &Course, down: &str, up: &str) -> BTreeMap<&'static str, i32> {
        let mut balance = BTreeMap::new();
        for step in course.steps.iter().chain(&course.afterwards) {
            if let Step::Wish(wish, whom) = step {
                let change = i32::from(*wish == down).saturating_sub(i32::from(*wish == up));
                let left: &mut i32 = balance.entry(*whom).or_default();
                *left = left.saturating_add(change);
            }
        }
        balance
    }

    #[test]
    fn after_each_fault_everything_is_up_again() {
        for fault in Fault::iter() {
            let course = fault.course(2);
            for (down, up) in [("kill", "start"), ("hang", "go-on")] {
                let left = balance(&course, down, up);
                assert!(left.values().all(|left| *left == 0), "{fault:?}: {left:?}");
            }
            let cuts = course
                .steps
                .iter()
                .filter(|step| matches!(step, Step::Wish("cut-off" | "cut-between", _)));
            let mends = course.steps.iter().filter(|step| matches!(step, Step::Wish("mend", _)));
            assert_eq!(cuts.count(), mends.count(), "{fault:?}");
        }
    }

    #[test]
    fn a_starter_that_is_not_there_is_not_restarted() {
        let restarted = |starters| {
            let course = Fault::RollingRestart.course(starters);
            course.steps.contains(&Step::Wish("restart", "second-starter"))
        };
        assert!(restarted(2));
        assert!(!restarted(1));
    }

    #[test]
    fn a_backup_is_put_back_while_no_node_runs() {
        let steps = Fault::TemporalPostgresSetBack.course(1).steps;
        let at = |wanted: Step| steps.iter().position(|step| *step == wanted).unwrap();
        let put_back = at(Step::Wish("set-back", TEMPORALS_POSTGRES));
        for node in NODES {
            assert!(at(Step::Wish("kill", node)) < put_back);
            assert!(put_back < at(Step::Wish("start", node)));
        }
    }
}
