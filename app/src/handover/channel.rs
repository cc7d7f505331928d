//! What an old and a new version of the program say to each other: messages with descriptors, on a pair of Unix sockets that nobody
//! else has.

use portcullis_model::Secret;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// The longest message.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Descriptors that go with one message; the kernel takes at most 253.
pub const DESCRIPTORS_MAX: usize = 64;
/// How long the other side may take to read a message.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Our end, and the one for the new version.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        // Keeps messages apart, so that descriptors stay with theirs.
        let (own, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::of(own)?, other))
    }

    /// The end that a new version was started with.
    ///
    /// # Errors
    /// When it is nothing that messages come from, or somebody else's.
    pub fn of(descriptor: OwnedFd) -> io::Result<Self> {
        // SECURITY: whoever speaks here decides on which sockets and with which keys this process serves.
        if sockopt::socket_peercred(&descriptor)?.uid != rustix::process::geteuid() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the other side is another user"));
        }
        sockopt::set_socket_timeout(&descriptor, sockopt::Timeout::Send, Some(SEND_TIME_MAX))?;
        Ok(Self(descriptor))
    }

    /// Sends a message with descriptors.
    ///
    /// # Errors
    /// When the other side is gone, or does not read.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
        }
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends secret bytes.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_secret(&self, secret: &Secret<Vec<u8>>) -> io::Result<()> {
        self.send(secret.reveal(), &[])
    }

    /// Receives a message within a time; no bytes when the other side is gone.
    ///
    /// # Errors
    /// When none comes in time, or it is too long.
    pub fn receive(&self, within: Duration) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, Some(within.max(Duration::from_millis(1))))?;
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptors = descriptors.flatten().collect();
        if received.flags.intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of another version, or too few descriptors left"));
        }
        bytes.truncate(received.bytes);
        Ok((bytes, descriptors))
    }

    /// Receives secret bytes.
    ///
    /// # Errors
    /// As [`Channel::receive`].
    pub fn receive_secret(&self, within: Duration) -> io::Result<Secret<Vec<u8>>> {
        self.receive(within).map(|(bytes, _)| Secret::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Duration};
    use portcullis_model::Secret;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn descriptors_arrive_with_their_message_and_are_the_same_socket() {
        let (old, new) = Channel::pair().unwrap();
        let new = Channel::of(new).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        old.send(b"none", &[]).unwrap();
        old.send(b"two", &[listener.as_fd(), listener.as_fd()]).unwrap();
        old.send_secret(&Secret::new(b"key".to_vec())).unwrap();
        assert_eq!(new.receive(SOON).unwrap().0, b"none");
        let (bytes, mut sockets) = new.receive(SOON).unwrap();
        assert_eq!((bytes.as_slice(), sockets.len()), (&b"two"[..], 2));
        assert_eq!(new.receive_secret(SOON).unwrap().reveal(), b"key");
        // What is queued when the first descriptor is closed is not lost.
        let mut client = TcpStream::connect(address).unwrap();
        drop(listener);
        let taken = TcpListener::from(sockets.remove(0));
        taken.accept().unwrap().0.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 1);
    }

    #[test]
    fn silence_and_the_end_of_the_other_side_are_told_apart() {
        let (old, new) = Channel::pair().unwrap();
        let error = old.receive(Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        drop(new);
        assert_eq!(old.receive(SOON).unwrap().0, b"");
        assert!(old.send(b"x", &[]).is_err());
    }
}
