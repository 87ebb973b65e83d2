//! A travel agency in a test: its own Temporal server, a worker that runs the trips, and a world in
//! which every activity can be made to fail.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's support is private to its crate, and what cannot be prepared fails its test"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests stand outside the workflow: they read the environment and start threads"
)]

pub mod trip;
pub mod world;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use std::{env, mem, thread};

use saga::{Decision, Resolution, WaitingFor};
use temporalio_client::{
    Client, WorkflowGetResultOptions, WorkflowHandle, WorkflowHistory, WorkflowStartOptions,
};
use temporalio_protos::temporal::api::history::v1::{HistoryEvent, history_event::Attributes};
use temporalio_sdk::testing::{
    EphemeralExe, LocalServer, LocalWorkflowEnvironmentOptions, WorkflowEnvironment,
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use temporalio_sdk::workflows::WorkflowImplementation;
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use trip::{Trip, TripId, TripStart, View};
use world::World;

/// A handle of a trip's workflow.
pub type Handle = WorkflowHandle<Client, <Trip as WorkflowImplementation>::Run>;

/// A running agency.
pub struct Agency {
    pub world: World,
    client: Client,
    server: WorkflowEnvironment<LocalServer>,
    stop: watch::Sender<bool>,
    worker: thread::JoinHandle<()>,
}

impl Agency {
    pub async fn open() -> Self {
        let server = temporal().await;
        let client = server.client().clone();
        let world = World::default();
        let stop = watch::Sender::new(false);
        let worker = serve(client.clone(), world.clone(), stop.subscribe());
        Self { world, client, server, stop, worker }
    }

    /// Starts a trip. Keeps Temporal's default workflow task timeout: with a shorter one, on a slow
    /// machine a debug build of the SDK panics where a release build only logs.
    pub async fn start(&self, start: &TripStart) -> Handle {
        let options = WorkflowStartOptions::new(trip::QUEUE, start.trip.0.clone()).build();
        self.client.start_workflow(Trip::run, start.clone(), options).await.unwrap()
    }

    /// Waits until the trip has ended, and checks that its history replays.
    pub async fn ended(&self, handle: &Handle) -> String {
        let ending = handle.get_result(WorkflowGetResultOptions::default()).await.unwrap();
        let history = handle.fetch_history(Default::default());
        let events = history.into_events().await.unwrap();
        let replayed = tokio::task::spawn_blocking(|| replay(events)).await.unwrap();
        assert_eq!(replayed, Ok(()), "{ending}: the history does not replay");
        ending
    }

    pub async fn view(&self, handle: &Handle) -> View {
        handle.query(Trip::view, (), Default::default()).await.unwrap()
    }

    /// Waits until the trip waits for a person.
    pub async fn until_waiting(&self, handle: &Handle) -> WaitingFor {
        handle.execute_update(Trip::until_waiting, None, Default::default()).await.unwrap()
    }

    /// Waits until the trip waits for a person about something other than `before`.
    pub async fn until_waiting_anew(&self, handle: &Handle, before: WaitingFor) -> WaitingFor {
        handle.execute_update(Trip::until_waiting, Some(before), Default::default()).await.unwrap()
    }

    /// Sends a decision; returns why it was refused, if it was.
    pub async fn decide(
        &self,
        handle: &Handle,
        step: &str,
        occurrence: u32,
        decision: Decision,
    ) -> Result<(), String> {
        let (by, why) = ("Ada".to_owned(), "seen to by hand".to_owned());
        let resolution = Resolution { step: step.to_owned(), occurrence, decision, by, why };
        let taken = handle.execute_update(Trip::resolve, resolution, Default::default()).await;
        taken.map_err(|error| format!("{error:?}"))
    }

    /// Sends a cancel; returns whether it came in time.
    pub async fn cancel(&self, handle: &Handle) -> bool {
        let reason = "changed my mind".to_owned();
        handle.execute_update(Trip::cancel, reason, Default::default()).await.unwrap()
    }

    pub async fn close(self) {
        self.stop.send_replace(true);
        // The client's connection lives on this test's runtime, which must not be blocked.
        tokio::task::spawn_blocking(move || self.worker.join().unwrap()).await.unwrap();
        self.server.shutdown().await.unwrap();
    }
}

/// The regular activities of this name that the trip has scheduled, in order: when, and their
/// schedule-to-close timeout.
pub async fn scheduled(handle: &Handle, activity: &str) -> Vec<(Duration, Option<Duration>)> {
    let events = handle.fetch_history(Default::default()).into_events().await.unwrap();
    let of_activity = |event: HistoryEvent| match event.attributes {
        Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled))
            if scheduled.activity_type.as_ref().is_some_and(|kind| kind.name == activity) =>
        {
            let at = event.event_time.unwrap();
            let at = Duration::new(at.seconds.try_into().unwrap(), at.nanos.try_into().unwrap());
            let limit = scheduled.schedule_to_close_timeout.unwrap();
            Some((at, Duration::try_from(limit).ok().filter(|limit| !limit.is_zero())))
        }
        _ => None,
    };
    events.into_iter().filter_map(of_activity).collect()
}

/// The SDK's replayer must stay on the thread that created it.
fn replay(events: Vec<HistoryEvent>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = WorkflowReplayerOptions::new().register_workflow::<Trip>().unwrap().build();
        let replayer = WorkflowReplayer::new(options).unwrap();
        let history = temporalio_protos::temporal::api::history::v1::History { events };
        let outcome = replayer.replay_workflow(WorkflowHistory::from(history)).await;
        outcome.map_err(|error| error.to_string())
    })
}

/// A Temporal server for this test alone.
async fn temporal() -> WorkflowEnvironment<LocalServer> {
    let cli = env::var("TEMPORAL_CLI")
        .expect("TEMPORAL_CLI names the temporal binary; `make test` sets it, or set it to yours");
    loop {
        let port = port();
        // With the dev server's defaults every step would wait.
        let settings = [
            "history.transferProcessorMaxPollRPS=100",
            "history.timerProcessorMaxPollRPS=100",
            "matching.numTaskqueueReadPartitions=1",
            "matching.numTaskqueueWritePartitions=1",
        ];
        let arguments = settings.iter().flat_map(|setting| ["--dynamic-config-value", setting]);
        let options = LocalWorkflowEnvironmentOptions::builder()
            .port(port)
            .server_executable(EphemeralExe::ExistingPath(cli.clone()))
            .extra_args(arguments.map(str::to_owned).collect())
            .build();
        match WorkflowEnvironment::start_local(options).await {
            Ok(server) => return server,
            // On a busy machine the SDK's five seconds are not always enough. If the server never
            // starts, the test runner's timeout ends the test.
            Err(error) => println!("another try to start Temporal: {error}"),
        }
    }
}

/// A port reserved for as long as this process runs: two tests with the same port would share a
/// server, and it stops with the first of them. Temporal can still listen there: this socket does
/// not listen, and both set address reuse.
fn port() -> u16 {
    let held = TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = held.local_addr().unwrap().port();
    mem::forget(held);
    port
}

/// Runs the worker on its own thread and runtime: a worker must stay on its thread.
fn serve(client: Client, world: World, mut stop: watch::Receiver<bool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let sdk = Runtime::from_current_tokio(Default::default()).unwrap();
            let options = WorkerOptions::new(trip::QUEUE)
                .register_activities(world)
                .register_workflow::<Trip>()
                .unwrap()
                .build();
            let mut worker = Worker::new(&sdk, client, options).unwrap();
            let shut_down = worker.shutdown_handle();
            let stopped = async {
                stop.wait_for(|stop| *stop).await.unwrap();
                shut_down();
            };
            let ((), ended) = tokio::join!(stopped, worker.run());
            ended.unwrap();
        });
    })
}

/// A trip with the given name.
pub fn trip(name: &str) -> TripStart {
    TripStart { trip: TripId(name.to_owned()), ..TripStart::default() }
}
