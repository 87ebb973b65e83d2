//! The machine, and the CPU time of each program.

use std::collections::BTreeMap;
use std::fs;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::Deserialize;

use super::unfit::Unfit;

/// The programs that process orders, by the process ids of their root processes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Programs {
    /// The Temporal server, or the nodes of a cluster.
    temporal: Pids,
    /// The cluster's own database.
    #[serde(rename = "temporal-postgres")]
    temporal_postgres: Pids,
    /// The database.
    postgres: Pids,
    /// The workers.
    worker: Pids,
    /// The HTTP starters.
    starter: Pids,
    /// Worker and starter in one process.
    all: Pids,
    /// The load balancers of the cluster's nodes and of the starters.
    balancer: Pids,
    /// The worker of the empty workflow and the textbook saga.
    #[serde(skip)]
    pub(super) bench_worker: Option<u32>,
}

/// The processes of one kind: `7` or `[7, 8]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "OneOrMore")]
pub(super) struct Pids(Vec<u32>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

impl From<OneOrMore> for Pids {
    fn from(pids: OneOrMore) -> Self {
        match pids {
            OneOrMore::One(pid) => Self(vec![pid]),
            OneOrMore::More(pids) => Self(pids),
        }
    }
}

/// CPU time by program; `None` where the system does not report it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuTimes {
    pub(super) server: Option<Duration>,
    /// A cluster's own database; `None` without a cluster.
    pub(super) server_database: Option<Duration>,
    /// The load balancers; `None` without any.
    pub(super) balancer: Option<Duration>,
    /// The worker and the benchmark's own: only one of them is busy at a time. Includes the starter
    /// if worker and starter share a process.
    pub(super) workers: Option<Duration>,
    pub(super) starter: Option<Duration>,
    pub(super) postgres: Option<Duration>,
    /// The part of the database's time spent on the sandboxes, which stand for an external provider
    /// and carrier.
    pub(super) sandboxes: Option<Duration>,
    /// The benchmark itself, which generates the load.
    pub(super) load: Option<Duration>,
}

impl CpuTimes {
    /// The sum; `None` if one of them is missing.
    pub(super) fn together(&self) -> Option<Duration> {
        let Self { server, server_database, balancer, workers, starter, postgres, load, .. } =
            *self;
        let if_any = [server_database, balancer].map(Option::unwrap_or_default);
        let each = [server?, workers?, starter?, postgres?, load?].into_iter().chain(if_any);
        Some(each.fold(Duration::ZERO, Duration::saturating_add))
    }

    /// The difference to an earlier measurement.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let taken = |now: Option<Duration>, then: Option<Duration>| now?.checked_sub(then?);
        Self {
            server: taken(self.server, earlier.server),
            server_database: taken(self.server_database, earlier.server_database),
            balancer: taken(self.balancer, earlier.balancer),
            workers: taken(self.workers, earlier.workers),
            starter: taken(self.starter, earlier.starter),
            postgres: taken(self.postgres, earlier.postgres),
            sandboxes: taken(self.sandboxes, earlier.sandboxes),
            load: taken(self.load, earlier.load),
        }
    }
}

impl Programs {
    /// Whether worker and starter share a process.
    pub(super) const fn are_one(&self) -> bool {
        !self.all.0.is_empty()
    }

    /// Returns an error if an id does not belong to its program, as far as the system shows that.
    pub(super) fn are_ours(&self) -> Result<(), Unfit> {
        self.are_ours_by(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok())
    }

    /// Like [`Self::are_ours`], with this lookup of a process's name. Unknown names pass.
    fn are_ours_by(&self, name: impl Fn(u32) -> Option<String>) -> Result<(), Unfit> {
        if self.temporal.0.is_empty() {
            return Err(Unfit::ForeignTemporal);
        }
        if name(std::process::id()).is_none() {
            return Ok(());
        }
        for (program, pids) in [
            ("temporal", &self.temporal),
            ("postgres", &self.postgres),
            ("ordersaga", &self.worker),
            ("ordersaga", &self.starter),
            ("ordersaga", &self.all),
        ] {
            let stranger =
                pids.0.iter().find(|pid| !name(**pid).is_some_and(|name| name.contains(program)));
            if let Some(pid) = stranger {
                return Err(Unfit::Stranger { program, pid: *pid });
            }
        }
        Ok(())
    }

    /// CPU time since each program was started; `sandboxes` are the Postgres processes that serve
    /// those.
    pub(super) fn cpu_times(&self, sandboxes: &[u32]) -> CpuTimes {
        let processes = Processes::now();
        let bench_worker = self.bench_worker.and_then(|pid| processes.cpu_time(pid));
        let of = |pids: &Pids| processes.cpu_time_of_all(pids);
        let workers = [of(&self.worker), of(&self.all), bench_worker];
        let of_postgres = self.postgres.0.first();
        CpuTimes {
            server: processes.cpu_time_of_all(&self.temporal),
            server_database: processes.cpu_time_of_all(&self.temporal_postgres),
            balancer: processes.cpu_time_of_all(&self.balancer),
            workers: workers.into_iter().flatten().reduce(Duration::saturating_add),
            // Counted with the worker if both share a process.
            starter: of(&self.starter).or_else(|| self.are_one().then_some(Duration::ZERO)),
            postgres: processes.cpu_time_of_all(&self.postgres),
            sandboxes: of_postgres.map(|postgres| processes.cpu_time_of(*postgres, sandboxes)),
            load: processes.cpu_time_alone(std::process::id()),
        }
    }
}

/// CPU time since a program was started; `None` where the system does not report it.
pub(super) fn cpu_time(pid: u32) -> Option<Duration> {
    Processes::now().cpu_time(pid)
}

/// A snapshot of all processes in Linux's `/proc`. Empty on other systems.
struct Processes(BTreeMap<u32, Process>);

struct Process {
    parent: u32,
    /// Used by itself.
    own: u64,
    /// Used by its children that have ended.
    ended: u64,
}

impl Processes {
    fn now() -> Self {
        let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = folders.filter_map(|folder| {
            let pid = folder.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(folder.path().join("stat")).ok()?;
            Some((pid, Process::read(&stat)?))
        });
        Self(processes.collect())
    }

    /// CPU time of a process and all its descendants: Postgres has one process per connection.
    fn cpu_time(&self, pid: u32) -> Option<Duration> {
        self.0.get(&pid)?;
        Some(from_ticks(self.ticks(pid)))
    }

    /// The sum for one kind; `None` if there is none, or one of them is gone.
    fn cpu_time_of_all(&self, pids: &Pids) -> Option<Duration> {
        let each = pids.0.iter().map(|pid| self.cpu_time(*pid));
        let all = each.sum::<Option<Duration>>()?;
        (!pids.0.is_empty()).then_some(all)
    }

    /// CPU time of a process without its descendants.
    fn cpu_time_alone(&self, pid: u32) -> Option<Duration> {
        Some(from_ticks(self.0.get(&pid)?.own))
    }

    /// CPU time of some of a program's processes.
    fn cpu_time_of(&self, program: u32, pids: &[u32]) -> Duration {
        let processes = pids.iter().filter_map(|pid| self.0.get(pid));
        let its_own = processes.filter(|process| process.parent == program);
        from_ticks(its_own.map(|process| process.own).fold(0, u64::saturating_add))
    }

    fn ticks(&self, pid: u32) -> u64 {
        let own = self.0.get(&pid).map_or(0, |process| process.own.saturating_add(process.ended));
        let children = self.0.iter().filter(|(_, process)| process.parent == pid);
        children.map(|(child, _)| self.ticks(*child)).fold(own, u64::saturating_add)
    }
}

impl Process {
    /// Parses `/proc/<pid>/stat`: pid, (name), state, parent, …; the name may contain anything.
    fn read(stat: &str) -> Option<Self> {
        let fields = stat.rsplit_once(") ")?.1.split(' ').collect::<Vec<_>>();
        let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: ticks(11)?.saturating_add(ticks(12)?),
            ended: ticks(13)?.saturating_add(ticks(14)?),
        })
    }
}

/// Linux reports CPU time in hundredths of a second, whatever its internal resolution.
fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(10))
}

/// The machine in one line.
pub(super) fn described() -> String {
    let cores = available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let model = value_of("/proc/cpuinfo", "model name")
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = value_of("/proc/meminfo", "MemTotal").and_then(|kib| gibibytes(&kib));
    let memory = memory.map_or_else(String::new, |gib| format!(", {gib} GiB of memory"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
    let kernel = kernel.map_or_else(
        |_| std::env::consts::OS.to_owned(),
        |release| format!("Linux {}", release.trim()),
    );
    format!("{cores} cores ({model}){memory}, {kernel}")
}

fn value_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, value) = text.lines().find(|line| line.starts_with(key))?.split_once(':')?;
    Some(value.trim().to_owned())
}

fn gibibytes(kibibytes: &str) -> Option<u64> {
    let kibibytes = kibibytes.split(' ').next()?.parse::<u64>().ok()?;
    kibibytes.checked_add(1 << 19)?.checked_div(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTMASTER: &str = "7 (postgres: a) b) S 1 7 7 0 -1 4194560 1 2 0 0 30 12 5 3 20 0 1 0 1";

    #[test]
    fn processor_time_is_read_behind_a_name_that_holds_anything() {
        let process = Process::read(POSTMASTER).unwrap();
        assert_eq!((process.parent, process.own, process.ended), (1, 42, 8));
    }

    #[test]
    fn a_server_of_somebody_elses_and_a_strangers_id_are_refused() {
        let known = |pid| match pid {
            7 => Some("temporal-server".to_owned()),
            8 => Some("postgres".to_owned()),
            9 => Some("ordersaga".to_owned()),
            _ => Some("sh".to_owned()),
        };
        let told = |pids: &str| serde_json::from_str::<Programs>(pids).unwrap().are_ours_by(known);
        assert_eq!(told(r#"{"temporal": [7], "postgres": 8, "worker": [9, 9]}"#), Ok(()));
        assert_eq!(told(r#"{"postgres": 8}"#), Err(Unfit::ForeignTemporal));
        let stranger = Unfit::Stranger { program: "ordersaga", pid: 3 };
        assert_eq!(told(r#"{"temporal": 7, "worker": [9, 3]}"#), Err(stranger));
    }

    #[test]
    fn a_program_takes_what_all_its_processes_take() {
        let process = |parent, own, ended| Process { parent, own, ended };
        let processes = Processes(
            [
                (7, process(1, 42, 8)),
                (8, process(7, 10, 0)),
                (9, process(8, 5, 0)),
                (2, process(1, 99, 0)),
            ]
            .into_iter()
            .collect(),
        );
        assert_eq!(processes.cpu_time(7), Some(Duration::from_millis(650)));
        assert_eq!(processes.cpu_time(3), None);
        let all = |pids: &str| processes.cpu_time_of_all(&serde_json::from_str(pids).unwrap());
        assert_eq!(all("[7, 2]"), Some(Duration::from_millis(1_640)));
        assert_eq!(all("7"), Some(Duration::from_millis(650)));
        assert_eq!(all("[7, 3]"), None);
        assert_eq!(all("[]"), None);
        // Processes of other programs, and ended ones, are not counted.
        assert_eq!(processes.cpu_time_of(7, &[8, 2, 3]), Duration::from_millis(100));
    }
}
