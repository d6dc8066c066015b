/// What to do when signals arrive and the mount comes to its end: a state machine without I/O.
///
/// The first SIGTERM or SIGINT finishes the uploads and then unmounts; a further one only says what is pending. When
/// the mount is ended from outside (umount(8), fusermount3), the uploads are finished in the same way.
struct StopSequence: Hashable, Sendable {
  enum Event: Hashable, Sendable {
    /// SIGTERM or SIGINT.
    case stopRequested
    /// SIGHUP.
    case hangup
    /// The mount answers.
    case mounted
    /// Every pending upload has ended, well or not.
    case uploadsFinished
    /// The kernel has let go of the mount.
    case unmounted
  }

  enum Action: Hashable, Sendable {
    /// Give up mounting.
    case cancelStart
    /// Upload what is pending, then report `uploadsFinished`.
    case finishUploads
    /// Tell the user what is waited for.
    case reportPending
    /// Take the mount away; `unmounted` follows.
    case unmount
    case logIgnoredHangup
  }

  enum Phase: Hashable, Sendable {
    case starting, cancelled, serving, finishing, unmounting, ended
  }

  private(set) var phase = Phase.starting

  mutating func handle(_ event: Event) -> [Action] {
    switch (phase, event) {
    case (_, .hangup):
      return [.logIgnoredHangup]
    case (.starting, .stopRequested):
      phase = .cancelled
      return [.cancelStart]
    case (.cancelled, .mounted):
      // The request came between the last check and the mount.
      phase = .finishing
      return [.finishUploads]
    case (.starting, .mounted):
      phase = .serving
      return []
    case (.serving, .stopRequested):
      phase = .finishing
      return [.finishUploads]
    case (.finishing, .stopRequested), (.unmounting, .stopRequested), (.ended, .stopRequested):
      return [.reportPending]
    case (.finishing, .uploadsFinished):
      phase = .unmounting
      return [.unmount]
    case (_, .unmounted):
      phase = .ended
      return []
    case (.cancelled, .stopRequested), (.starting, .uploadsFinished), (.cancelled, .uploadsFinished),
      (.serving, .uploadsFinished), (.unmounting, .uploadsFinished), (.ended, .uploadsFinished),
      (.serving, .mounted), (.finishing, .mounted), (.unmounting, .mounted), (.ended, .mounted):
      return []
    }
  }
}
