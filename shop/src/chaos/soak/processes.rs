//! A program's resources, from Linux's `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The resources of a program and all its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Private memory in bytes: pages written and not shared. Postgres' shared buffers have a fixed
    /// size and are excluded.
    pub(super) memory: u64,
    /// Open files, including connections.
    pub(super) files: u64,
}

/// Whether this system shows its processes.
pub(super) fn can_be_seen() -> bool {
    Path::new("/proc/self/status").exists()
}

/// A snapshot of all processes.
pub(super) struct Processes(BTreeMap<u32, Process>);

#[derive(Clone, Copy)]
struct Process {
    parent: u32,
    memory: u64,
}

impl Processes {
    pub(super) fn now() -> Self {
        let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = folders.filter_map(|folder| {
            let pid = folder.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(folder.path().join("status")).ok()?;
            Some((pid, Process::read(&status)?))
        });
        Self(processes.collect())
    }

    /// The resources of the program with this root process; `None` if it is gone.
    pub(super) fn taken_by(&self, pid: u32) -> Option<Taken> {
        let Process { memory, .. } = *self.0.get(&pid)?;
        let own = Taken { memory, files: files_of(pid) };
        let children = self.0.iter().filter(|(_, process)| process.parent == pid);
        Some(children.filter_map(|(child, _)| self.taken_by(*child)).fold(own, Taken::and))
    }
}

impl Taken {
    const fn and(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_add(other.memory),
            files: self.files.saturating_add(other.files),
        }
    }
}

impl Process {
    /// Parses `/proc/<pid>/status`. A kernel thread has no private memory.
    fn read(status: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let parent = u32::try_from(value("PPid:")?).ok()?;
        Some(Self { parent, memory: value("RssAnon:").unwrap_or_default().saturating_mul(1_024) })
    }
}

fn files_of(pid: u32) -> u64 {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    u64::try_from(open.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_a_process_has_of_its_own() {
        let status = "Name:\tworker\nPPid:\t7\nVmRSS:\t 9000 kB\nRssAnon:\t    5000 kB\n";
        let process = Process::read(status).unwrap();
        assert_eq!((process.parent, process.memory), (7, 5_120_000));
        assert_eq!(Process::read("Name:\tkthreadd\nPPid:\t0\n").unwrap().memory, 0);
    }

    #[test]
    fn a_program_takes_what_all_its_processes_take() {
        let process = |parent, memory| Process { parent, memory };
        // No such processes exist, so none has open files.
        let [first, child, grandchild, other] =
            [u32::MAX - 3, u32::MAX - 2, u32::MAX - 1, u32::MAX];
        let processes = [
            (first, process(1, 10)),
            (child, process(first, 5)),
            (grandchild, process(child, 2)),
            (other, process(1, 100)),
        ];
        let processes = Processes(processes.into_iter().collect());
        assert_eq!(processes.taken_by(first), Some(Taken { memory: 17, files: 0 }));
        assert_eq!(processes.taken_by(3), None);
    }
}
