import Basics
import Filesystem
import Glibc
import Synchronization
import SystemPackage

/// A tree in memory that counts what it is asked, and whose operations a test can hold or replace.
final class FakeFilesystem: FileOperations {
  /// What a test hangs into the operations. Each may throw what the operation is to fail with.
  struct Hooks: Sendable {
    var lookup: (@Sendable (FileName, CallContext) throws(Errno) -> Void)?
    var unlink: (@Sendable (FileName, CallContext) throws(Errno) -> Void)?
    var open: (@Sendable (CallContext) throws(Errno) -> Void)?
    var create: (@Sendable (CallContext) throws(Errno) -> Void)?
    var flush: (@Sendable (CallContext) throws(Errno) -> Void)?
    /// Called behind a write.
    var written: (@Sendable (InodeID) -> Void)?
    var readDirectory: (@Sendable (UInt64) throws(Errno) -> Void)?
    /// Answers a read in place of the tree.
    var read: (@Sendable (UInt64, Int, CallContext, @escaping Completion<ReadBuffers, Errno>) -> Void)?
    /// Whether files are opened past the page cache.
    var directIO = false
    /// The file that the kernel is to read in place of asking.
    var backing: (@Sendable () -> BackingID?)?
    /// Seconds the kernel may believe names and attributes.
    var lifetime = 60.0
    /// Whether a name that is not there is answered with a negative entry, and not with ENOENT.
    var negativeEntries = false
  }

  struct Node {
    var attributes: FileAttributes
    var content: [UInt8] = []
    var target = ""
    var children: [FileName: InodeID] = [:]
    var lookups: UInt64 = 0
  }

  /// What it was asked, in numbers.
  struct Counts: Hashable {
    var lookups = 0
    var getAttributes = 0
    var readDirectoryPlus = 0
    var releases = 0
    var directoryReleases = 0
    var flushes = 0
    var syncs = 0
    var directorySyncs = 0
    var readLinks = 0
    var reads: [Int] = []
    var writes: [Int] = []
    /// Those of `writes` that came from a mapping.
    var writebacks = 0
    var openModes: [OpenMode] = []
    var changes: [AttributeChanges] = []
    var contexts: [UInt32] = []
  }

  struct State {
    var nodes: [InodeID: Node] = [:]
    var nextInode: UInt64 = 2
    var nextHandle: UInt64 = 1
    var files: [HandleID: InodeID] = [:]
    var directories: [HandleID: [DirectoryEntry]] = [:]
    var counts = Counts()
    var gates: [Signal] = []
  }

  let hooks: Hooks
  let state = Mutex(State())

  init(_ hooks: Hooks = Hooks()) {
    self.hooks = hooks
    let root = Node(attributes: attributes(number: 1, mode: S_IFDIR | 0o755))
    state.withLock { $0.nodes[.root] = root }
  }

  var counts: Counts { state.withLock { $0.counts } }

  /// Something an operation may wait on; it is opened at the end of the test at the latest.
  func makeGate() -> Signal {
    let gate = Signal()
    state.withLock { $0.gates.append(gate) }
    return gate
  }

  func openAllGates() {
    for gate in state.withLock({ $0.gates }) { gate.set() }
  }

  /// Adds a file without anybody asking.
  @discardableResult
  func add(_ name: String, _ content: [UInt8] = [], in parent: InodeID = .root, mode: UInt32 = S_IFREG | 0o644)
    -> InodeID
  {
    state.withLock { state in
      let inode = state.make(FileName(name), in: parent, mode: mode)
      state.nodes[inode]?.content = content
      state.nodes[inode]?.attributes.size = UInt64(content.count)
      return inode
    }
  }

  /// Lookups of an inode that the kernel has not given back; nil once it is forgotten.
  func lookups(_ inode: InodeID) -> UInt64? { state.withLock { $0.nodes[inode]?.lookups } }

  func inode(_ name: String, in parent: InodeID = .root) -> InodeID? {
    state.withLock { $0.nodes[parent]?.children[FileName(name)] }
  }
}

func attributes(number: UInt64, mode: UInt32, size: UInt64 = 0) -> FileAttributes {
  let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 123_456_789)
  return FileAttributes(
    fileNumber: number + 1000, mode: mode, links: mode & S_IFMT == S_IFDIR ? 2 : 1, uid: getuid(), gid: getgid(),
    size: size, accessed: time, modified: time, changed: time)
}

extension FakeFilesystem.State {
  mutating func make(_ name: FileName, in parent: InodeID, mode: UInt32) -> InodeID {
    let inode = InodeID(nextInode)
    nextInode += 1
    nodes[inode] = .init(attributes: attributes(number: inode.value, mode: mode))
    nodes[parent]?.children[name] = inode
    return inode
  }

  func child(_ name: FileName, of parent: InodeID) throws(Errno) -> InodeID {
    guard let node = nodes[parent] else { throw .staleNFSFileHandle }
    guard let inode = node.children[name] else { throw .noSuchFileOrDirectory }
    return inode
  }

  func node(_ inode: InodeID) throws(Errno) -> FakeFilesystem.Node {
    guard let node = nodes[inode] else { throw .staleNFSFileHandle }
    return node
  }

  mutating func counted(_ inode: InodeID, _ lifetime: Double) throws(Errno) -> EntryReply {
    var node = try node(inode)
    node.lookups += 1
    nodes[inode] = node
    return EntryReply(inode: inode, generation: 7, attributes: node.attributes, lifetime: lifetime)
  }

  mutating func openFile(_ inode: InodeID) -> HandleID {
    defer { nextHandle += 1 }
    files[HandleID(nextHandle)] = inode
    return HandleID(nextHandle)
  }
}
