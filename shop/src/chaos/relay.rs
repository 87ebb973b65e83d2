//! A TCP relay that simulates a frontend of a Temporal cluster, because the dev server has only
//! one.

use std::io;
use std::net::SocketAddr;

use clap::Args;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Forwards data in both directions until it is terminated. When stopped (`kill -STOP`), it keeps
/// its connections and forwards nothing, like a machine that hangs
#[derive(Clone, Debug, Args)]
pub(crate) struct Relay {
    /// The address to listen on
    #[arg(long)]
    listen: SocketAddr,

    /// The address to forward to
    #[arg(long)]
    to: SocketAddr,
}

impl Relay {
    /// Runs the relay.
    ///
    /// **Errors.** Cannot listen.
    pub(crate) async fn run(&self) -> io::Result<()> {
        let listener = TcpListener::bind(self.listen).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(relayed(client, self.to));
        }
    }
}

/// Ends with either side, and at once if the server is down.
async fn relayed(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_one_side_sends_the_other_reads_and_both_end_together() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let relay = tokio::spawn(relayed(accepted, server.local_addr().unwrap()));
        let (mut far, _) = server.accept().await.unwrap();

        let mut read = [0; 4];
        client.write_all(b"ping").await.unwrap();
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
        far.write_all(b"pong").await.unwrap();
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"pong");
        drop(far);
        assert_eq!(client.read(&mut read).await.unwrap(), 0);
        drop(client);
        assert!(relay.await.is_ok());
    }
}
