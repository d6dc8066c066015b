import Glibc

/// Takes mounts away.
struct Unmounter: Sendable {
  enum Outcome: Hashable, Sendable {
    case done
    /// Files on it are open, or a process has its working directory there.
    case busy
    case notMounted
    case failed(String)
  }

  /// Unmounts a path; lazily, when the second argument is true: it disappears at once, and is freed with its last user.
  let unmount: @Sendable (String, Bool) -> Outcome

  /// umount2(2) for who may, else fusermount3(1).
  static let system = Unmounter { path, lazily in
    // UMOUNT_NOFOLLOW: the last component must not be swapped for a link meanwhile.
    let flags = umountNoFollow | (lazily ? Int32(MNT_DETACH) : 0)
    if umount2(path, flags) == 0 { return .done }
    switch errno {
    case EBUSY: return .busy
    case EINVAL, ENOENT: return .notMounted
    case EPERM: return unmountWithHelper(path, lazily: lazily)
    case let code: return .failed(describe(errno: code))
    }
  }

  /// <sys/mount.h> hides it from programs that do not ask for GNU extensions.
  private static let umountNoFollow: Int32 = 8

  private static func unmountWithHelper(_ path: String, lazily: Bool) -> Outcome {
    do throws(Failure) {
      let outcome = try Tool.run(["fusermount3", "-u"] + (lazily ? ["-z"] : []) + ["--", path])
      return classify(outcome)
    } catch {
      return .failed(error.description)
    }
  }

  /// fusermount3 tells what went wrong only in words.
  static func classify(_ outcome: Tool.Outcome) -> Outcome {
    guard outcome.status != 0 else { return .done }
    let text = outcome.errorText
    if text.contains("busy") { return .busy }
    if text.contains("not found in") || text.contains("not mounted") { return .notMounted }
    return .failed(text.isEmpty ? "fusermount3 ended with status \(outcome.status)" : text)
  }
}
