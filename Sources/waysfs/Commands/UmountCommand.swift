import ArgumentParser
import FuseSession
import Glibc

struct UmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "umount", abstract: "Unmount, and wait until everything is uploaded.",
    discussion: """
      Works on a dead mount, too (one whose process was killed).

      EXAMPLES
        waysfs umount /mnt/photos
        waysfs umount --lazy /mnt/photos        while programs still use it
      """)

  @Argument(
    help: ArgumentHelp("Where the bucket is mounted.", valueName: "mountpoint"), completion: Completion.mountPoints)
  var mountPoint: String

  @Flag(
    name: [.customLong("lazy"), .customShort("l")],
    help: "Take it away at once, even while it is in use, and do not wait for the uploads.")
  var lazy = false

  func run() throws {
    do throws(Failure) {
      try Umount(lazy: lazy).run(mountPoint, ProcessContext.current())
    } catch {
      throw CommandEnd(error, doing: "cannot unmount \(mountPoint)")
    }
  }
}

/// For how long a daemon that has nothing to upload, or does not say what, is waited for: a value without I/O.
struct UmountPatience: Hashable, Sendable {
  /// Seconds.
  static let longest = 20.0

  private var idle = 0.0
  /// Whether the last record said what is to be uploaded, be it nothing.
  private(set) var isPendingKnown = true

  /// - Parameters:
  ///   - record: what it says now; nil while it is being written.
  ///   - seconds: since the last call.
  mutating func isOver(_ record: RecordContents?, after seconds: Double) -> Bool {
    guard let record else { return false }
    isPendingKnown = record.pending != nil
    idle = record.pending?.files ?? 0 == 0 ? idle + seconds : 0
    return idle > Self.longest
  }
}

/// Unmounts and waits for the daemon.
struct Umount {
  var lazy: Bool
  var say: (String) -> Void = printError
  var makeWait: (_ purpose: String) -> ProgressWait = { ProgressWait(purpose: $0) }

  func run(_ path: String, _ context: ProcessContext) throws(Failure) {
    let mounts = try MountTable.read()
    let resolved = try MountPath.resolve(path, workingDirectory: context.workingDirectory, mounts: mounts)
    guard let mount = mounts.top(at: resolved) else {
      throw Failure("nothing is mounted there", remedy: "'findmnt -t fuse.waysfs' lists the mounts")
    }
    guard mount.isWaysfs else {
      throw Failure("this is not a waysfs mount but \(mount.type) (\(mount.source))", remedy: "Use umount(8)")
    }
    // Before the unmount: the daemon removes its record when it ends.
    let record = ForeignRecord(
      mountPoint: resolved,
      directories: context.recordDirectories
        + RuntimeDirectory.candidates(uid: mount.userID ?? context.uid, environment: [:]))
    let wasAlive = record?.isHeld
    try takeAway(mount, context)
    guard let record else { return }
    if wasAlive == false {
      record.removeIfAbandoned()
      say("waysfs: the process of this mount had died; what it had not uploaded is sent by the next mount")
      return
    }
    if lazy {
      if record.isHeld { say("waysfs: process \(record.contents.pid) finishes its uploads in the background") }
      return
    }
    var wait = makeWait("\(resolved) is unmounted; process \(record.contents.pid) finishes its uploads")
    var patience = UmountPatience()
    wait.run(
      until: {
        let moment = 0.05
        sleepInterval(seconds: moment)
        return !record.isHeld || patience.isOver(record.lastWord(), after: moment)
      }, pending: { record.pending })
    if record.isHeld {
      guard patience.isPendingKnown else {
        throw Failure(
          "it is unmounted, but process \(record.contents.pid) goes on, and does not say what is not uploaded yet",
          remedy: "Look into its log", exitCode: .unfinishedUploads)
      }
      return say(
        """
        waysfs: it is unmounted and everything is uploaded, but process \(record.contents.pid) goes on: most likely it \
        is mounted in another mount namespace as well, such as a container's; 'kill \(record.contents.pid)' ends it
        """)
    }
    if let unfinished = record.lastWord()?.unfinished {
      throw Failure("it is unmounted, but \(unfinished)", exitCode: .unfinishedUploads)
    }
  }

  private func takeAway(_ mount: MountTableEntry, _ context: ProcessContext) throws(Failure) {
    do throws(FuseSessionError) {
      try mount.unmount(lazy: lazy)
    } catch {
      if error.code == .busy {
        throw Failure(
          "it is in use",
          remedy: "Close what is open there ('fuser -vm \(mount.mountpoint)' shows who), or use --lazy")
      }
      if let owner = mount.userID, owner != context.uid, context.uid != 0 {
        throw Failure("it was mounted by user \(owner)", remedy: "Unmount it as that user or as root")
      }
      throw Failure(error.description)
    }
  }
}
