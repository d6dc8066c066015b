import FuseSession
import Testing

@testable import waysfs

struct ControlGroupTests {
  private static let mib: UInt64 = 1 << 20

  private func limit(_ groups: String, mounts: String, _ files: [String: String]) -> UInt64? {
    ControlGroup(groups: groups, mounts: MountTable(parsing: mounts).entries) { files[$0] }.memoryLimit
  }

  private static let version2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
  private static let version1 = """
    34 33 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
    35 33 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
    36 33 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw

    """

  @Test func leastLimitOfTheGroupAndItsParents() {
    let files = [
      "/sys/fs/cgroup/system.slice/memory.max": "536870912\n",
      "/sys/fs/cgroup/system.slice/waysfs.service/memory.max": "max\n",
    ]
    #expect(limit("0::/system.slice/waysfs.service\n", mounts: Self.version2, files) == 512 * Self.mib)
    #expect(limit("0::/system.slice\n", mounts: Self.version2, files) == 512 * Self.mib)
    #expect(limit("0::/\n", mounts: Self.version2, files) == nil)
  }

  @Test func versionOne() {
    let groups = "9:name=systemd:/\n4:memory:/a/b\n1:cpu:/other\n0::/\n"
    let files = [
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "134217728\n",
      "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "268435456\n",
      "/sys/fs/cgroup/cpu/other/memory.limit_in_bytes": "1\n",
    ]
    #expect(limit(groups, mounts: Self.version1, files) == 128 * Self.mib)
  }

  @Test func containerThatSeesPartOfTheHierarchy() {
    let mounts = "35 33 0:30 /docker/0a1b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    let files = ["/sys/fs/cgroup/memory/memory.limit_in_bytes": "67108864\n"]
    #expect(limit("4:memory:/docker/0a1b\n", mounts: mounts, files) == 64 * Self.mib)
    #expect(limit("4:memory:/elsewhere\n", mounts: mounts, files) == 64 * Self.mib)
  }

  @Test(arguments: ["", "nonsense", "0::", "4:memory", "::::\n\n", "0::/../..\n"])
  func whatIsNotUnderstoodIsNoLimit(groups: String) {
    #expect(limit(groups, mounts: Self.version2 + "garbage\n", ["/sys/fs/cgroup/memory.max": "many\n"]) == nil)
  }

  @Test(
    arguments: [
      (nil, 256), (UInt64(4096), 256), (512, 256), (256, 128), (100, 50), (20, 16),
    ] as [(UInt64?, UInt64)])
  func theDefaultLeavesHalf(allowed: UInt64?, limit: UInt64) throws {
    var context = MountSettingsTests.context
    context.memoryAllowed = allowed.map { $0 * Self.mib }
    #expect(try MountSettingsTests.settings(context: context).memoryLimit == limit * Self.mib)
  }

  @Test func anExplicitLimitIsTakenWithAWarning() throws {
    var context = MountSettingsTests.context
    context.memoryAllowed = 256 * Self.mib
    let large = try MountSettingsTests.settings(["--memory-limit", "1G"], context: context)
    #expect(large.memoryLimit == 1024 * Self.mib)
    #expect(large.memoryWarning?.contains("1 GiB") == true && large.memoryWarning?.contains("256 MiB") == true)
    #expect(try MountSettingsTests.settings(["--memory-limit", "128M"], context: context).memoryWarning == nil)
    #expect(try MountSettingsTests.settings(["--memory-limit", "1G"]).memoryWarning == nil)
  }
}
