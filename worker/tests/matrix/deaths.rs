//! Workers killed between an activity's effect and its answer.
//!
//! A process cannot simulate its own death, so every queue is served by a child process (this
//! program with `--serve`). It aborts at the given point; the next one continues from Temporal's
//! and the database's records.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::process::{self, Stdio};
use std::sync::Arc;

use domain::{Order, OrderId, ProviderName};
use futures::future::join_all;
use runtime::temporal::Temporal;
use saga::{UNAVAILABLE, WORKFLOW_TASK_TIMEOUT};
use serde::{Deserialize, Serialize};
use sqlx::{ConnectOptions, PgPool};
use temporalio_sdk::activities::ActivityInfo;
use temporalio_sdk::interceptors::{
    ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use workflows::Queue;

use crate::cell::{Cell, Course, Point, Trouble};
use crate::run::{self, Manner, Outcome};
use crate::support::{Call, Code, Faults, Gate, OrderHandle, Shop, ended, failed, serve_as};
use crate::told;

/// Consecutive deaths before the orders may recover. Each takes down the orders of earlier ones,
/// and Temporal delays a task that was lost ten times.
const IN_A_ROW: usize = 12;

/// Where a process dies, and in the course of which order.
#[derive(Debug, Deserialize, Serialize)]
struct Sentence {
    order: OrderId,
    activity: String,
    call: Call,
    /// The activity's calls when nothing fails.
    usual: BTreeSet<Call>,
    /// Whether the quick attempts have to fail first.
    patiently: bool,
}

/// The instructions on a process's standard input.
#[derive(Debug, Deserialize, Serialize)]
struct Errand {
    /// Orders, and their courses.
    courses: Vec<(OrderId, Course)>,
    sentence: Option<Sentence>,
}

/// An order whose worker has died.
struct Bereft {
    cell: Cell,
    order: Order,
    handle: OrderHandle,
    /// Whether its cancellation was accepted.
    taken_in: bool,
    complaint: Option<String>,
}

/// Runs the cells; afterwards the shop has no workers.
pub async fn run(
    shop: &mut Shop,
    points: &BTreeSet<Point>,
    cells: &[Cell],
    manner: Manner,
) -> Vec<Outcome> {
    shop.send_workers_home().await;
    let mut outcomes = Vec::new();
    for row in cells.chunks(IN_A_ROW) {
        let mut courses = Vec::new();
        let mut bereft = Vec::new();
        for cell in row {
            bereft.push(die(shop, points, cell, &mut courses, manner).await);
        }
        let _heir = start(shop, &Errand { courses, sentence: None }).await;
        let recovering = bereft.into_iter().map(|order| recover(shop, order, manner));
        let recovered = join_all(recovering).await;
        for failure in recovered.iter().filter_map(Outcome::failure) {
            println!("  {failure}");
        }
        outcomes.extend(recovered);
        println!("  {} of {}", outcomes.len(), cells.len());
        if manner.is_over(&outcomes) {
            break;
        }
    }
    outcomes
}

/// Places an order and makes its worker die; the next worker has no knowledge of that.
async fn die(
    shop: &Shop,
    points: &BTreeSet<Point>,
    cell: &Cell,
    courses: &mut Vec<(OrderId, Course)>,
    manner: Manner,
) -> Bereft {
    let order = run::order_on(shop, cell.point.course);
    courses.push((order.order_id, cell.point.course));
    let errand = Errand {
        courses: courses.clone(),
        sentence: Some(Sentence {
            order: order.order_id,
            activity: cell.point.activity.clone(),
            call: cell.point.call.clone(),
            usual: points
                .iter()
                .filter(|point| point.activity == cell.point.activity)
                .map(|point| point.call.clone())
                .collect(),
            patiently: cell.trouble == Trouble::DiesLong,
        }),
    };
    let mut process = start(shop, &errand).await;
    let handle = shop.place_within(&order, Some(WORKFLOW_TASK_TIMEOUT)).await;
    let words = async {
        tokio::select! {
            words = last_words(&mut process) => words,
            never = run::decide(shop, &handle, order.order_id, cell.point.course, false) => never,
        }
    };
    let last_words = timeout(manner.give_up_after, words).await;
    let complaint = match last_words {
        Ok(words) if words.trim() == order.order_id.to_string() => None,
        Ok(_) => Some("its worker died of something else, see above".to_owned()),
        Err(_elapsed) => Some("its worker has not died".to_owned()),
    };
    // It may be about to die by itself.
    process.kill().await.unwrap();
    let taken_in = run::call_off(&handle, cell.cancel, &Gate::default()).await;
    Bereft { cell: cell.clone(), order, handle, taken_in, complaint }
}

/// Waits for the order's end.
async fn recover(shop: &Shop, bereft: Bereft, manner: Manner) -> Outcome {
    let Bereft { cell, order, handle, taken_in, complaint } = bereft;
    let end = async {
        tokio::select! {
            status = ended(&handle) => status,
            never = run::decide(shop, &handle, order.order_id, cell.point.course, false) => never,
        }
    };
    let complaint = match (complaint, timeout(manner.give_up_after, end).await) {
        (Some(complaint), _) => Some(complaint),
        (None, Err(_elapsed)) => Some("has not ended".to_owned()),
        (None, Ok(status)) => match cell.complaint(&status, taken_in) {
            Some(complaint) => Some(complaint),
            None => match run::on_record(shop, &order, &status).await {
                Some(complaint) => Some(complaint),
                None => Box::pin(told::complaint(shop, order.order_id, cell.point.course)).await,
            },
        },
    };
    let complaint = complaint.map(|complaint| format!("{complaint} (order {})", order.order_id));
    Outcome { cell, complaint, openings: Vec::new() }
}

/// A process that serves every queue, until it dies or its parent does.
async fn start(shop: &Shop, errand: &Errand) -> Child {
    let provider =
        if shop.is_paid_by_transfer() { ProviderName::BankTransfer } else { ProviderName::Sandbox };
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--serve", "--provider", provider.name()])
        .env("DATABASE_URL", shop.db.connect_options().to_url_lossy().as_str())
        .env("TEMPORAL_ADDRESS", shop.server_address())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut told = serde_json::to_vec(errand).unwrap();
    told.push(b'\n');
    // Standard input stays open: closing it tells the process to stop.
    process.stdin.as_mut().unwrap().write_all(&told).await.unwrap();
    process
}

/// The output of a process before it dies; empty if it dies unexpectedly.
async fn last_words(process: &mut Child) -> String {
    let mut words = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut words).await.unwrap();
    words
}

/// Serves every queue until the process is to die, or its parent is gone.
pub async fn serve_until_death(code: Code) {
    let mut told = String::new();
    io::stdin().read_line(&mut told).unwrap();
    let Errand { courses, sentence } = serde_json::from_str(&told).unwrap();
    let faults = Faults::default();
    for (order, course) in courses {
        run::plan_course(&faults, order, course);
    }
    let db = PgPool::connect(&std::env::var("DATABASE_URL").unwrap()).await.unwrap();
    let client = Temporal::from_env("ordersaga-matrix").unwrap().connect().await.unwrap();
    let doom = Doom { faults, sentence: Arc::new(sentence) };
    let queues = &[Queue::Orders, Queue::Payments, Queue::Fulfilment];
    let _workers = serve_as(code, &db, &client, doom, queues);
    let abandoned = tokio::task::spawn_blocking(|| io::stdin().read_to_string(&mut String::new()));
    abandoned.await.unwrap().unwrap();
}

/// The faults of a process, and its death.
#[derive(Clone, Debug)]
struct Doom {
    faults: Faults,
    sentence: Arc<Option<Sentence>>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Makes the quick attempts fail, so that the patient one is made.
    TriesInVain,
    Dies,
}

impl Sentence {
    fn fate(&self, info: &ActivityInfo) -> Option<Fate> {
        let is_meant = info.workflow_id.as_deref() == Some(&self.order.workflow_id())
            && info.activity_type == self.activity;
        let call = Call::of(info);
        match (self.call == call, self.patiently) {
            _ if !is_meant => None,
            (true, true) => Some(Fate::TriesInVain),
            (true, false) => Some(Fate::Dies),
            (false, true) => (!self.usual.contains(&call)).then_some(Fate::Dies),
            (false, false) => None,
        }
    }
}

impl ActivityInboundInterceptor for Doom {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let sentence = self.sentence.as_ref().as_ref();
        match sentence.and_then(|sentence| Some((sentence, sentence.fate(input.activity_info())?)))
        {
            None => self.faults.execute_activity(input, next),
            Some((_, Fate::TriesInVain)) => Box::pin(async { Err(failed(UNAVAILABLE, false)) }),
            Some((sentence, Fate::Dies)) => Box::pin(async move {
                next.run(input).await?;
                let mut last_words = io::stdout().lock();
                writeln!(last_words, "{}", sentence.order).unwrap();
                last_words.flush().unwrap();
                process::abort()
            }),
        }
    }
}
