//! Graceful shutdown of a program.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

type Log = Lines<BufReader<ChildStderr>>;

/// The program, its address, and its log from then on.
async fn program() -> (Child, String, Log) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ordersaga"))
        .args(["api", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .env("STARTER_DATABASE_URL", "postgres://nobody@127.0.0.1:9/nothing")
        // Long enough to be seen on a slow machine.
        .env("ORDERSAGA_NOTICE_SECONDS", "10")
        .env("ORDERSAGA_BODY_TIMEOUT_SECONDS", "40")
        .env("ORDERSAGA_OPS_LISTEN", "127.0.0.1:0")
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(program.stderr.take().unwrap()).lines();
    let address = loop {
        let line = log.next_line().await.unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if let Some(address) = line["address"].as_str() {
            break address.to_owned();
        }
    };
    (program, address, log)
}

#[tokio::test]
async fn a_program_that_is_asked_to_stop_says_so_and_answers_what_it_has_begun() {
    let (mut program, address, mut log) = program().await;
    // A request in flight: its body is not complete yet.
    let mut caller = TcpStream::connect(&address).await.unwrap();
    let head = "POST /v1/quotes HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
                content-length: 2\r\n\r\n{";
    caller.write_all(head.as_bytes()).await.unwrap();
    let client = runtime::http::client_builder().pool_max_idle_per_host(0).build().unwrap();

    let id = program.id().unwrap().to_string();
    assert!(Command::new("kill").arg(&id).status().await.unwrap().success());
    while !log.next_line().await.unwrap().unwrap().contains("stopping") {}
    // Keeps reading the log, so that the program never blocks on a full pipe.
    tokio::spawn(async move { while let Ok(Some(_line)) = log.next_line().await {} });
    // First it reports that it is not ready, and then it stops listening.
    let ask = async || client.get(format!("http://{address}/ready")).send().await;
    let readiness = async || ask().await.unwrap().json::<serde_json::Value>().await.unwrap();
    // The signal is logged before every part of the program has received it.
    while readiness().await["leaving"] != true {}
    while ask().await.is_ok() {}

    caller.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(program.wait().await.unwrap().success());
}
