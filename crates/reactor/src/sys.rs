//! The system calls that neither rustix nor socket2 offers: the program that steers connections to the
//! listeners of a port (`SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5).
//!
//! A program is classic BPF: it is run for each connection, and its result is the index of a listener, in
//! the order in which they began to listen. A result that is none of them leaves the choice to the hash
//! of the addresses. The kernel checks the program; whatever it is, it cannot reach memory.

use std::ffi::c_int;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

/// One instruction of classic BPF.
pub(crate) use libc::sock_filter as Instruction;

/// Loads the number of the core that the packet is handled on.
pub(crate) const fn load_core() -> Instruction {
    // The field lies among those that are no bytes of the packet, at negative offsets.
    let offset = (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned();
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, offset)
}

/// Skips the next instruction unless what was loaded is `value`.
pub(crate) const fn skip_unless(value: u32) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, value)
}

/// Ends the program with this result.
pub(crate) const fn give(result: u32) -> Instruction {
    instruction(libc::BPF_RET | libc::BPF_K, 0, result)
}

#[expect(clippy::cast_possible_truncation, reason = "codes of classic BPF are bytes")]
const fn instruction(code: u32, skipped_if_false: u8, operand: u32) -> Instruction {
    Instruction { code: code as u16, jt: 0, jf: skipped_if_false, k: operand }
}

/// Steers connections to the port of `listener` by `program`, whichever of its listeners this is.
pub(crate) fn steer(listener: &TcpListener, program: &[Instruction]) -> io::Result<()> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(too_long)?,
        filter: program.as_ptr().cast_mut(),
    };
    set(listener, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Takes away the program that steers connections to the port of `listener`, if there is one.
pub(crate) fn steer_no_more(listener: &TcpListener) -> io::Result<()> {
    let ignored: c_int = 0;
    match set(listener, libc::SO_DETACH_REUSEPORT_BPF, &ignored) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn set<T>(listener: &TcpListener, option: c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("a few bytes");
    // SAFETY: the descriptor is open for as long as `listener` is borrowed. `value` is a live T of
    // `length` bytes, which the kernel only reads. The callers pair each option with its type
    // (socket(7)); the program that a `sock_fprog` of theirs points to is a slice of the length it
    // says, which they borrow until this returns, and the kernel copies it.
    let result = unsafe {
        let value = std::ptr::from_ref(value).cast();
        libc::setsockopt(listener.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
