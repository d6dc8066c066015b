import FuseSession
import Glibc
import ObjectStore
import Testing

@testable import waysfs

struct DoctorTests {
  private func settings() throws -> MountSettings { try MountSettingsTests.settings() }

  private func findings(_ run: ((Finding) -> Void) -> Void) -> [Finding] {
    var found: [Finding] = []
    run { found.append($0) }
    return found
  }

  @Test func linesBeginWithTheStatus() {
    #expect(Finding(.ok, "a", "is well").line == "ok       a: is well")
    #expect(Finding(.warning, "b", "is odd", remedy: "Do this").line == "warning  b: is odd. Do this.")
    #expect(Finding(.error, "c", "line\nbreak").line == "error    c: line\\nbreak")
  }

  static let differences: [(Int64, Finding.Status)] = [
    (0, .ok), (59, .ok), (-59, .ok), (60, .warning), (-899, .warning), (900, .error), (-86_400, .error),
  ]

  @Test(arguments: differences)
  func clocks(_ difference: Int64, _ status: Finding.Status) {
    let finding = ServerChecks.clock(aheadBy: difference)
    #expect(finding.status == status)
    #expect(finding.status == .ok || finding.text.contains(difference < 0 ? "behind" : "ahead"))
    #expect(finding.status == .ok || !finding.remedy.isEmpty)
  }

  @Test func theMachine() {
    let fails = { () throws(FuseSessionError) in throw FuseSessionError(.deviceMissing, "it is missing: load it") }
    let works = { () throws(FuseSessionError) in }
    let user = findings(MachineChecks(uid: 1000, device: fails, helper: fails, sharing: fails).run)
    #expect(user.map(\.status) == [.error, .error, .warning])
    #expect(user[0].text.contains("load it"))
    let root = findings(MachineChecks(uid: 0, device: works, helper: fails, sharing: fails).run)
    #expect(root.map(\.status) == [.ok, .warning, .ok])
    #expect(
      findings(MachineChecks(uid: 1000, device: works, helper: works, sharing: works).run).allSatisfy {
        $0.status == .ok
      })
  }

  @Test func theDisk() throws {
    let directory = try TemporaryDirectory()
    let found = findings(DiskChecks(directory: "\(directory.path)/not/yet/there", isNeeded: true).run)
    #expect(found.map(\.subject) == ["cache room", "cache speed"])
    #expect(found.allSatisfy { $0.status != .error })
    #expect(access("\(directory.path)/not", F_OK) != 0)
    let file = try directory.file("file")
    #expect(findings(DiskChecks(directory: file, isNeeded: true).run).map(\.status) == [.error])
    #expect(findings(DiskChecks(directory: "/proc/x", isNeeded: false).run).map(\.status) == [.ok])
  }

  @Test func whatTheServerCanDo() throws {
    let store = InMemoryObjectStore()
    let settings = try settings()
    let found = findings(WriteChecks(store: store, prefix: "p/", settings: settings).run)
    #expect(
      found.map(\.subject) == [
        "writing", "conditional writes", "checksums", "multipart uploads", "copies of parts", "deleting",
      ])
    #expect(found.allSatisfy { $0.status == .ok }, "\(found)")
    #expect(try store.list(ListRequest(prefix: "", delimited: false)).entries.isEmpty)
    #expect(try store.listUploads(prefix: "").isEmpty)
  }

  @Test func aServerThatRefuses() throws {
    let store = FailingObjectStore(wrapping: InMemoryObjectStore()) { $0.kind == .put ? .fail(.accessDenied) : nil }
    let found = findings(WriteChecks(store: store, prefix: "", settings: try settings()).run)
    #expect(found.map(\.status) == [.error])
    #expect(!found[0].remedy.isEmpty)
  }

  @Test func aKeyPairThatMayNotDelete() throws {
    let store = FailingObjectStore(wrapping: InMemoryObjectStore()) { $0.kind == .delete ? .fail(.accessDenied) : nil }
    let found = findings(WriteChecks(store: store, prefix: "p/", settings: try settings()).run)
    let last = try #require(found.last)
    #expect(last.status == .error && last.subject == "deleting")
    // The name of what is left.
    #expect(last.text.contains("p/.waysfs-probe-") && !last.remedy.isEmpty)
    #expect(found.dropLast().allSatisfy { $0.status == .ok })
  }

  @Test func aServerThatKnowsNoConditions() throws {
    let store = FailingObjectStore(wrapping: InMemoryObjectStore()) { call in
      call.kind == .put && call.ordinal > 1 ? .fail(.unsupported) : nil
    }
    let found = findings(WriteChecks(store: store, prefix: "", settings: try settings()).run)
    let conditions = try #require(found.first { $0.subject == "conditional writes" })
    #expect(conditions.status == .warning && !conditions.remedy.isEmpty)
  }
}
