//! A simulated mail server with planned faults, which keeps accepted mails.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The fault for one mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// Greets with this.
    Greeting(&'static str),
    /// Answers authentication with this.
    SignIn(&'static str),
    /// Answers the sender with this.
    Sender(&'static str),
    /// Answers the recipient with this.
    Recipient(&'static str),
    /// Answers the whole mail with this, and does not keep it.
    Mail(&'static str),
    /// Cuts the connection at the recipient.
    CutAtRecipient,
    /// Keeps the mail, and cuts the connection instead of answering.
    CutAfterMail,
}

/// A mail kept by the server.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    /// Headers and body, lines ended by `\n`.
    pub(crate) text: String,
}

impl Kept {
    /// The headers of this name, with continuation lines joined.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let head = self.text.split("\n\n").next().unwrap().replace("\n ", " ");
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(this, _)| this.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }
}

#[derive(Default)]
struct State {
    troubles: VecDeque<Trouble>,
    kept: Vec<Kept>,
    /// The recipient at which it always cuts the connection.
    cut_at: Option<String>,
    /// The commands received.
    commands: Vec<String>,
    /// The number of recipients received, whatever the result.
    asked: usize,
}

/// A mail server on its own port, until the test ends.
#[derive(Clone)]
pub(crate) struct MailServer {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, state: Arc::default() };
        let state = Arc::clone(&server.state);
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&state);
                tokio::spawn(async move { serve(connection, &state).await });
            }
        });
        server
    }

    /// Plans faults for the next mails, in order; later mails have none.
    pub(crate) fn next(&self, troubles: &[Trouble]) {
        self.state.lock().unwrap().troubles.extend(troubles);
    }

    /// Cuts every connection that names this recipient from now on.
    pub(crate) fn always_cut_at(&self, recipient: &str) {
        self.state.lock().unwrap().cut_at = Some(recipient.to_owned());
    }

    /// Whether it has received a command with this prefix.
    pub(crate) fn was_told(&self, command: &str) -> bool {
        self.state.lock().unwrap().commands.iter().any(|line| line.starts_with(command))
    }

    pub(crate) fn kept(&self) -> Vec<Kept> {
        self.state.lock().unwrap().kept.clone()
    }

    /// The only mail that it has kept.
    pub(crate) fn only(&self) -> Kept {
        let mut kept = self.kept();
        assert_eq!(kept.len(), 1, "{kept:?}");
        kept.pop().unwrap()
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }
}

/// How a session continues.
enum Next {
    Say(String),
    TakeMail,
    Cut,
}

async fn serve(connection: TcpStream, state: &Mutex<State>) {
    let (reading, mut writing) = connection.into_split();
    let mut lines = BufReader::new(reading).lines();
    let greeting = {
        let mut state = state.lock().unwrap();
        match state.troubles.front().copied() {
            Some(Trouble::Greeting(text)) => {
                state.troubles.pop_front();
                text
            }
            _ => "220 tests",
        }
    };
    if say(&mut writing, greeting).await.is_err() || !greeting.starts_with('2') {
        return;
    }
    let (mut trouble, mut sender, mut recipients) = (Trouble::None, String::new(), Vec::new());
    while let Ok(Some(line)) = lines.next_line().await {
        let next = {
            let mut state = state.lock().unwrap();
            answer(&line, &mut state, &mut trouble, &mut sender, &mut recipients)
        };
        let said = match next {
            Next::Cut => return,
            Next::Say(text) => say(&mut writing, &text).await,
            Next::TakeMail => {
                if say(&mut writing, "354 go on").await.is_err() {
                    return;
                }
                let mut text = String::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "." {
                        break;
                    }
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                let kept = Kept {
                    sender: std::mem::take(&mut sender),
                    recipients: std::mem::take(&mut recipients),
                    text,
                };
                if let Trouble::Mail(refusal) = trouble {
                    say(&mut writing, refusal).await
                } else {
                    state.lock().unwrap().kept.push(kept);
                    if trouble == Trouble::CutAfterMail {
                        return;
                    }
                    say(&mut writing, "250 2.0.0 kept").await
                }
            }
        };
        if said.is_err() {
            return;
        }
    }
}

/// The answer to EHLO, without STARTTLS.
const EXTENSIONS: &str =
    "250-tests\r\n250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES";

fn answer(
    line: &str,
    state: &mut State,
    trouble: &mut Trouble,
    sender: &mut String,
    recipients: &mut Vec<String>,
) -> Next {
    let good = || Next::Say("250 2.0.0 good".to_owned());
    let address = |line: &str| line.split(['<', '>']).nth(1).unwrap().to_owned();
    state.commands.push(line.to_owned());
    match line.split([' ', ':']).next().unwrap() {
        "EHLO" => Next::Say(EXTENSIONS.to_owned()),
        "AUTH" => {
            if let Some(Trouble::SignIn(text)) = state.troubles.front().copied() {
                state.troubles.pop_front();
                Next::Say(text.to_owned())
            } else {
                Next::Say("235 2.7.0 welcome".to_owned())
            }
        }
        "MAIL" => {
            *trouble = state.troubles.pop_front().unwrap_or(Trouble::None);
            *sender = address(line);
            recipients.clear();
            if let Trouble::Sender(text) = trouble { Next::Say((*text).to_owned()) } else { good() }
        }
        "RCPT" => {
            state.asked = state.asked.checked_add(1).unwrap();
            if state.cut_at == Some(address(line)) {
                return Next::Cut;
            }
            match trouble {
                Trouble::Recipient(text) => Next::Say((*text).to_owned()),
                Trouble::CutAtRecipient => Next::Cut,
                Trouble::None
                | Trouble::Greeting(_)
                | Trouble::SignIn(_)
                | Trouble::Sender(_)
                | Trouble::Mail(_)
                | Trouble::CutAfterMail => {
                    recipients.push(address(line));
                    good()
                }
            }
        }
        "DATA" => Next::TakeMail,
        "QUIT" => Next::Cut,
        _ => good(),
    }
}

async fn say(
    writing: &mut (impl tokio::io::AsyncWrite + Unpin),
    text: &str,
) -> std::io::Result<()> {
    writing.write_all(format!("{text}\r\n").as_bytes()).await
}
