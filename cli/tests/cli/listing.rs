//! `ordersaga order list` reads pages of the API until its own page is full.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

/// Answers one request with each of these pages; returns the first line of each request.
fn answer(listener: &TcpListener, pages: &[Value]) -> Vec<String> {
    let mut requests = Vec::new();
    for page in pages {
        let (mut stream, _client) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let body = page.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let request = String::from_utf8(request).unwrap();
        requests.push(request.lines().next().unwrap().to_owned());
    }
    requests
}

#[test]
fn short_pages_are_followed_until_the_page_is_full() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let pages = [
        json!({"items": [], "next_cursor": "a"}),
        json!({"items": [{"order_id": "1"}], "next_cursor": "b"}),
        json!({"items": [{"order_id": "2"}], "next_cursor": "c"}),
    ];
    let api = thread::spawn(move || answer(&listener, &pages));
    let output = Command::new(env!("CARGO_BIN_EXE_ordersaga"))
        .args(["order", "list", "--limit", "2", "--search", "85123A", "--output", "json"])
        .env("ORDERSAGA_URL", url)
        .env("ORDERSAGA_TOKEN", "a-token")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let items = json!([{"order_id": "1"}, {"order_id": "2"}]);
    assert_eq!(shown, json!({"items": items, "next_cursor": "c"}));
    assert_eq!(
        api.join().unwrap(),
        [
            "GET /v1/orders?q=85123A&limit=2 HTTP/1.1",
            "GET /v1/orders?q=85123A&limit=2&cursor=a HTTP/1.1",
            "GET /v1/orders?q=85123A&limit=1&cursor=b HTTP/1.1",
        ]
    );
}
