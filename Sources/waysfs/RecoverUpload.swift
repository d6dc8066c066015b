import Basics
import Glibc
import Logging
import SystemPackage
import WritePath

/// Uploads what earlier mounts of a bucket left, without mounting it.
struct RecoverUpload {
  let plan: MountPlan
  var connect: Connect = { plan, log, cancellation, progress throws(Failure) in
    try Composition.connect(plan, nil, log, cancellation, progress)
  }
  var show: (String) -> Void = { writeAll(STDOUT_FILENO, Array("\($0)\n".utf8)) }
  var makeWait: (_ purpose: String) -> ProgressWait = { ProgressWait(purpose: $0) }

  func run() throws(Failure) {
    guard !plan.settings.readOnly else {
      throw Failure("nothing can be uploaded with --read-only", exitCode: .usage)
    }
    let recover = Recover(root: FilePath(plan.settings.cacheDirectory), bucket: plan.target.bucket)
    let before = try recover.items()
    let unsent = before.filter(\.isUnsent)
    guard let first = unsent.first else { return show("There is nothing to upload for \(plan.target).") }
    // What a running mount has is its business.
    let free = Set(unsent.filter { !$0.isInUse }.map(\.id))
    guard !free.isEmpty else { throw Failure(item: first, .inUse(first.directory)) }
    try upload(free, recover)
    let left = try Self.left(free, before: before, after: recover.items())
    guard left == 0 else {
      throw Failure(
        "\(left) of \(Self.files(free.count)) could not be uploaded",
        remedy: "What could not is kept; 'waysfs recover' lists it")
    }
    show("\(Self.files(free.count)) \(free.count == 1 ? "is" : "are") in the bucket now.")
  }

  /// How many of the files are not in the bucket: they are still there, or turned out to be unreadable.
  static func left(_ ids: Set<String>, before: [JournalItem], after: [JournalItem]) -> Int {
    let known = Set(before.map(\.id))
    return after.count { item in
      switch item.state {
      case .pending, .stranded: ids.contains(item.id)
      case .quarantined: !known.contains(item.id)
      case .open, .recovered: false
      }
    }
  }

  private func upload(_ ids: Set<String>, _ recover: Recover) throws(Failure) {
    // At info the log would say once more what the progress shows.
    let level = plan.settings.logLevel == .info ? .warning : plan.settings.logLevel
    let log = LogDestination(.descriptor(STDERR_FILENO)).logger(label: "waysfs", level: level)
    let engine = try connect(plan, log, Cancellation()) { _ in }
    defer { engine.shutDown() }
    let isOver = Gateway()
    let thread = Thread.start(name: "waysfs-unsent") {
      engine.uploadLeftOver()
      isOver.open()
    }
    guard let thread else { throw Failure("the system has no thread left") }
    var wait = makeWait("uploading what was left of \(plan.target)")
    wait.run(
      until: {
        sleepInterval(seconds: 0.1)
        return isOver.isOpen
      },
      pending: {
        let left = ((try? recover.items()) ?? []).filter { $0.isUnsent && ids.contains($0.id) }
        return PendingUploads(files: left.count, bytes: left.reduce(0) { $0 + $1.size })
      })
    thread.join()
  }

  private static func files(_ count: Int) -> String { "\(count) \(count == 1 ? "file" : "files")" }
}
