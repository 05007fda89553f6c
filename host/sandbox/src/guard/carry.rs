//! Raw bytes, both ways.

use std::{pin::pin, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::timeout,
};

const CHUNK: usize = 16 << 10;
/// How long a client may take to hear that the engine has ended.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// How one direction has ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With the end of what was read, which was passed on.
    Read,
    /// Who is read from is gone.
    Unreadable,
    /// Who is written to takes no more.
    Unwritable,
}

/// Carries until both directions have ended, or the client is gone, or `linger` after the engine has ended. The end of what the
/// client writes is passed on, and what the engine writes still comes: a sandbox answers to the end of its input.
pub(super) async fn both_ways(
    client: impl AsyncRead + AsyncWrite,
    engine: impl AsyncRead + AsyncWrite,
    linger: Duration,
) {
    let ((from_client, to_client), (from_engine, to_engine)) = (split(client), split(engine));
    let (mut there, mut back) = (pin!(carry(from_client, to_engine)), pin!(carry(from_engine, to_client)));
    tokio::select! {
        end = &mut there => if end != End::Unreadable {
            back.await;
        },
        end = &mut back => if end == End::Read {
            let _ = timeout(linger, there).await;
        },
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> End {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.clear();
        match from.read_buf(&mut buffer).await {
            Ok(0) => {
                let _ = to.shutdown().await;
                return End::Read;
            }
            Ok(_) => {}
            Err(_) => return End::Unreadable,
        }
        if to.write_all(&buffer).await.is_err() || to.flush().await.is_err() {
            return End::Unwritable;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_open() {
        let ((mut client, here), (there, mut engine)) = (duplex(64), duplex(64));
        let speaking = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut heard = String::new();
            engine.read_to_string(&mut heard).await.unwrap();
            engine.write_all(heard.to_uppercase().as_bytes()).await.unwrap();
            drop(engine);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let (answer, ()) = tokio::join!(speaking, both_ways(here, there, LINGER));
        assert_eq!(answer, "QUESTION");
    }

    #[tokio::test]
    async fn a_client_that_stays_is_left_when_the_engine_has_ended() {
        let ((client, here), (there, engine)) = (duplex(64), duplex(64));
        drop(engine);
        both_ways(here, there, Duration::from_millis(10)).await;
        drop(client);
    }
}
