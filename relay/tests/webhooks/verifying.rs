//! Messages are verified with public libraries that are independent of this project.

use std::env;
use std::io::{self, Write as _};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::receiver::{Endpoint, KEY, Receiver, Seen, message};

/// A program around a library that reads a message with its headers and a secret from standard
/// input; it exits with 0 if the message is genuine, and with 3 if it is not.
struct Library {
    name: &'static str,
    program: &'static str,
    /// The environment variable with the package's folder, set by `make test`.
    folder: &'static str,
    /// The variable with the language's search path.
    path: &'static str,
    script: [&'static str; 2],
}

const LIBRARIES: [Library; 2] = [
    Library {
        name: "standardwebhooks for Python",
        program: "python3",
        folder: "STANDARD_WEBHOOKS_PYTHON",
        path: "PYTHONPATH",
        script: [
            "-c",
            "import json, sys\n\
             from standardwebhooks import Webhook, WebhookVerificationError\n\
             it = json.load(sys.stdin)\n\
             try:\n    Webhook(it['secret']).verify(it['body'], it['headers'])\n\
             except WebhookVerificationError:\n    sys.exit(3)\n",
        ],
    },
    Library {
        name: "standardwebhooks for JavaScript",
        program: "node",
        folder: "STANDARD_WEBHOOKS_NODE",
        path: "NODE_PATH",
        script: [
            "-e",
            "const { Webhook, WebhookVerificationError } = require('standardwebhooks');\n\
             const it = JSON.parse(require('fs').readFileSync(0, 'utf8'));\n\
             try { new Webhook(it.secret).verify(it.body, it.headers); }\n\
             catch (error) {\n\
               if (error instanceof WebhookVerificationError) process.exit(3);\n\
               throw error;\n\
             }\n",
        ],
    },
];

impl Library {
    /// The package's folder, if the launcher has it; prints a note otherwise.
    fn found(&self) -> Option<String> {
        let folder = env::var(self.folder).ok();
        if folder.is_none() {
            // Written directly, because the test runner hides the output of passing tests.
            let why = format!(
                "webhooks: NOT VERIFIED by {}, for {} names no folder; `make test` has it, or says \
                 why it has not",
                self.name, self.folder
            );
            writeln!(io::stderr(), "{why}").unwrap();
        }
        folder
    }

    /// Whether the library accepts this message with this key.
    async fn verifies(&self, folder: &str, seen: &Seen, key: &[u8]) -> bool {
        let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: serde_json::Map<_, _> =
            headers.map(|name| (name.to_owned(), json!(seen.header(name)))).into_iter().collect();
        let secret = format!("whsec_{}", STANDARD.encode(key));
        let told = json!({ "secret": secret, "headers": headers, "body": seen.body });
        let mut program = Command::new(self.program);
        let program = program.args(self.script).env(self.path, folder).stdin(Stdio::piped());
        let mut running = program.spawn().unwrap();
        let mut input = running.stdin.take().unwrap();
        input.write_all(told.to_string().as_bytes()).await.unwrap();
        drop(input);
        match running.wait().await.unwrap().code() {
            Some(0) => true,
            Some(3) => false,
            other => panic!("{} ended with {other:?}", self.name),
        }
    }
}

async fn rotated(endpoint: &Endpoint, key: &[u8], overlap_seconds: i32) {
    let rotated = sqlx::query_scalar!(
        r#"select webhooks.rotate_secret($1, $2, $3, 'eve') as "is_known!""#,
        endpoint.id,
        key,
        overlap_seconds,
    );
    assert!(rotated.fetch_one(&endpoint.database).await.unwrap());
}

/// The next message that the receiver gets.
async fn next(endpoint: &Endpoint, receiver: &Receiver) -> Seen {
    endpoint.deliver(&[message("a", 1)]).await;
    receiver.seen().pop().unwrap()
}

fn signatures(seen: &Seen) -> usize {
    seen.header("webhook-signature").split(' ').filter(|one| one.starts_with("v1,")).count()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn public_libraries_verify_what_is_sent_while_one_secret_replaces_another(db: PgPool) {
    let receiver = Receiver::answering([]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let first = next(&endpoint, &receiver).await;
    let (unheard, new, newest) = ([8; 32], [9; 32], [10; 32]);
    // The answer to the first rotation was lost, so it is requested again.
    rotated(&endpoint, &unheard, 60).await;
    rotated(&endpoint, &new, 60).await;
    let both = next(&endpoint, &receiver).await;
    rotated(&endpoint, &newest, 0).await;
    let last = next(&endpoint, &receiver).await;
    assert_eq!([&first, &both, &last].map(signatures), [1, 2, 1]);

    let mut forged = both.clone();
    forged.body = forged.body.replace("a.b", "a.c");
    assert_ne!(forged.body, both.body);
    for library in LIBRARIES {
        let Some(folder) = library.found() else { continue };
        for (seen, key, is_genuine) in [
            (&first, KEY, true),
            (&first, new, false),
            (&both, KEY, true),
            (&both, new, true),
            (&both, unheard, false),
            (&last, newest, true),
            (&last, new, false),
            (&forged, new, false),
        ] {
            let verified = library.verifies(&folder, seen, &key).await;
            assert_eq!(verified, is_genuine, "{}: {}", library.name, seen.body);
        }
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_sent_is_one_event_in_json_under_an_id_without_a_full_stop(db: PgPool) {
    let receiver = Receiver::answering([]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let seen = next(&endpoint, &receiver).await;
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("webhook-id"), "a:1");
    assert!(seen.header("webhook-timestamp").bytes().all(|byte| byte.is_ascii_digit()));
    let told = seen.json();
    assert_eq!(
        told,
        json!({
            "specversion": "1.0", "id": "a:1", "source": "https://shop.example",
            "type": "ordersaga.order.placed.v1", "time": "2026-01-01T00:00:00.000Z",
            "timestamp": "2026-01-01T00:00:00.000Z", "subject": "a", "sequence": "1",
            "datacontenttype": "application/json", "data": {"note": "a.b"},
        })
    );
}
