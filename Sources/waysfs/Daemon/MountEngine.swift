import Basics
import Logging

/// What is to be mounted, as far as it is known without asking anybody over the network.
struct MountPlan: Sendable {
  let target: MountTarget
  /// Absolute, without symbolic links.
  let mountPoint: String
  let layers: [OptionLayer]
  let context: ProcessContext
  let credentials: FoundCredentials
  /// The options, without what the control plane may add.
  let settings: MountSettings

  /// The options together with the endpoint and region that came with the key pair from the control plane.
  func settings(controlPlaneEndpoint endpoint: String?, region: String?) throws(Failure) -> MountSettings {
    do {
      var layer = OptionLayer(.controlPlane)
      if let endpoint { try layer.set(.endpoint, to: endpoint, spelledAs: "the control plane's endpoint") }
      if let region { try layer.set(.region, to: region, spelledAs: "the control plane's region") }
      return try MountSettings(
        target: target, mountPoint: mountPoint, layers: layers + [layer], context: context)
    } catch {
      throw Failure(error.message)
    }
  }
}

/// Uploads that are not done yet.
struct PendingUploads: Hashable, Sendable, CustomStringConvertible {
  /// How many files.
  var files: Int
  /// How many bytes of them are not in the bucket yet.
  var bytes: UInt64
  /// Some of their names.
  var examples: [String] = []
  /// How many of the files an attempt has failed for.
  var failed = 0
  /// What the last attempt failed with: a clause for people.
  var lastError: String?

  static let none = PendingUploads(files: 0, bytes: 0)

  /// `3 files, 12 MiB`
  var description: String { "\(files) \(files == 1 ? "file" : "files"), \(ByteCount.text(bytes))" }
}

/// What could not be uploaded, and where it is kept.
struct UnfinishedUploads: Hashable, Sendable {
  var files: Int
  /// A directory, or a sentence that says where the bytes are.
  var keptIn: String
}

/// How an unmount went.
enum UnmountOutcome: Hashable, Sendable {
  case done
  /// Files on it are open, or a process has its working directory there.
  case busy
  case notMounted
  case failed(String)
}

/// The filesystem of one mount as the daemon sees it: all layers below the commands, wired together. Thread-safe.
protocol MountEngine: Sendable {
  /// Mounts, and serves requests on threads of its own. Returns when the kernel may send requests.
  func mount() throws(Failure)
  /// The directory in which files being written are kept, or the one with a directory for each bucket where all are
  /// mounted; nil when nothing can be written.
  var journalDirectory: String? { get }
  /// What is not in the bucket yet; nil when nobody knows.
  var pending: PendingUploads? { get }
  /// What its layers have counted, for `waysfs status`; nil when nobody knows. Does not ask the server.
  var report: MountReport? { get }
  /// Takes a sample for the rates in `report`; called every half second or so.
  func sampleRates()
  /// How busy it is with requests.
  var load: EngineLoad { get }
  /// Goes the way of a request once, without asking the server and without leaving anything in a cache; blocks until the
  /// answer is there, and for ever when nobody answers. For a thread of its own.
  /// - Returns: false when nothing could be asked.
  func answerOnce() -> Bool
  /// Uploads what is pending, files that are open for writing included, and blocks until all of it has ended. May be
  /// called by several threads, and again when more has come.
  func finishUploads() -> UnfinishedUploads?
  /// Uploads what earlier mounts left, and blocks until each file was tried.
  func uploadLeftOver()
  /// Takes the mount away; a mount in use only when `lazily`, and then it is served until its last user is gone.
  func unmount(lazily: Bool) -> UnmountOutcome
  /// Blocks until the kernel has let go of the mount, or until `endSession`.
  func waitUntilUnmounted()
  /// Ends serving although the kernel may still send requests: they fail.
  func endSession()
  /// Stops the threads. The last call.
  func shutDown()
}

extension MountEngine {
  var report: MountReport? { nil }
  func sampleRates() {}
}

/// Builds an engine: fetches a key pair if need be, and makes sure that the bucket answers. Nothing is mounted yet.
typealias Connect = (MountPlan, Logger, Cancellation, _ progress: (String) -> Void) throws(Failure) -> any MountEngine

/// Numbers of bytes for people.
enum ByteCount {
  /// `17 bytes`, `12 MiB`, `1.5 GiB`: three digits at most.
  static func text(_ bytes: UInt64) -> String {
    var unit = 0
    var scaled = Double(bytes)
    while scaled >= 1000, unit < units.count - 1 {
      scaled /= 1024
      unit += 1
    }
    let tenths = Int(scaled * 10)
    let digits = unit == 0 || tenths >= 100 || tenths % 10 == 0 ? "\(Int(scaled))" : "\(tenths / 10).\(tenths % 10)"
    return "\(digits) \(units[unit])"
  }

  private static let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
}
