import Basics
import FuseSession
import Glibc

/// Whether the kernel and the system let this user mount.
struct MachineChecks {
  let uid: UInt32
  var device: () throws(FuseSessionError) -> Void = MachineCheck.device
  var helper: () throws(FuseSessionError) -> Void = MachineCheck.helper
  var sharing: () throws(FuseSessionError) -> Void = MachineCheck.sharing

  func run(_ report: (Finding) -> Void) {
    report(finding("/dev/fuse", "can be opened", .error, device))
    // Root mounts by itself, and what it mounts it may share.
    report(finding("fusermount3", "is there", uid == 0 ? .warning : .error, helper))
    report(
      uid == 0
        ? Finding(.ok, "user_allow_other", "is not needed: root may use --allow-other")
        : finding("user_allow_other", "is set in /etc/fuse.conf", .warning, sharing))
  }

  private func finding(
    _ subject: String, _ good: String, _ status: Finding.Status, _ check: () throws(FuseSessionError) -> Void
  ) -> Finding {
    do throws(FuseSessionError) {
      try check()
      return Finding(.ok, subject, good)
    } catch {
      return Finding(status, subject, error.description)
    }
  }
}

/// Whether the disk below the cache directory has room and is fast enough.
struct DiskChecks {
  let directory: String
  /// A mount that only reads writes nothing there.
  let isNeeded: Bool
  var time = TimeSource.system

  /// What is written to measure, in bytes.
  private static let sample = 32 << 20
  private static let block = 256 << 10
  private static let littleRoom: UInt64 = 1 << 30
  /// Bytes per second below which a disk holds a fast line up.
  private static let slow = 20e6

  func run(_ report: (Finding) -> Void) {
    guard isNeeded else { return report(Finding(.ok, "cache directory", "is not needed by a read-only mount")) }
    guard let place = existing() else {
      return report(
        Finding(
          .error, "cache directory", "no part of \(directory) is there",
          remedy: "Choose another with --cache-dir"))
    }
    guard access(place, W_OK | X_OK) == 0 else {
      return report(
        Finding(
          .error, "cache directory", "\(place): \(describe(errno: errno))",
          remedy: "Choose another with --cache-dir, or make it writable"))
    }
    report(room(place))
    report(speed(place))
  }

  /// The directory, or the nearest above it that is there.
  private func existing() -> String? {
    var path = directory
    while access(path, F_OK) != 0 {
      guard let slash = path.lastIndex(of: "/"), path != "/" else { return nil }
      path = slash == path.startIndex ? "/" : String(path[..<slash])
    }
    return path
  }

  private func room(_ place: String) -> Finding {
    var information = statvfs()
    guard statvfs(place, &information) == 0 else {
      return Finding(
        .error, "cache room", "\(place): \(describe(errno: errno))", remedy: "Choose another disk with --cache-dir")
    }
    let free = UInt64(information.f_bavail) * UInt64(information.f_frsize)
    let text = "\(ByteCount.text(free)) free below \(directory)"
    return free >= Self.littleRoom
      ? Finding(.ok, "cache room", text)
      : Finding(.warning, "cache room", text, remedy: "Make room, or choose another disk with --cache-dir")
  }

  private func speed(_ place: String) -> Finding {
    var template = Array("\(place)/.waysfs-doctor-XXXXXX".utf8CString)
    let file = mkstemp(&template)
    guard file >= 0 else {
      return Finding(
        .error, "cache speed", "\(place): \(describe(errno: errno))", remedy: "Choose another disk with --cache-dir")
    }
    unlink(template)
    defer { close(file) }
    // What a file system that compresses cannot make smaller.
    let block = (0..<Self.block).map { _ in UInt8.random(in: .min ... .max) }
    let begin = time.monotonic
    let isWritten = (0..<Self.sample / Self.block).allSatisfy { _ in writeAll(file, block) }
    guard isWritten, fdatasync(file) == 0 else {
      return Finding(
        .error, "cache speed", "\(place): \(describe(errno: errno))", remedy: "Choose another disk with --cache-dir")
    }
    let seconds = Double(time.monotonic - begin) / 1e9
    let rate = Double(Self.sample) / max(seconds, 1e-6)
    let text = "\(ByteCount.text(UInt64(rate)))/s onto stable storage"
    return rate >= Self.slow
      ? Finding(.ok, "cache speed", text)
      : Finding(.warning, "cache speed", text, remedy: "A faster disk, named with --cache-dir, makes writing faster")
  }
}
