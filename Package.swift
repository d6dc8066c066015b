// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .treatAllWarnings(as: .error),
]

let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let flyingFox = Target.Dependency.product(name: "FlyingFox", package: "FlyingFox")
let flyingSocks = Target.Dependency.product(name: "FlyingSocks", package: "FlyingFox")

/// One target per layer; a target may import only what stands below it (docs/architecture.md).
func layer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ layer: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .testTarget(
    name: "\(layer)Tests", dependencies: [.byName(name: layer)] + dependencies, swiftSettings: strict)
}

let package = Package(
  name: "waysfs",
  products: [
    .executable(name: "waysfs", targets: ["waysfs"]),
    .executable(name: "waysfs-sandbox", targets: ["waysfs-sandbox"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.2.0"),
    .package(url: "https://github.com/swhitty/FlyingFox", from: "0.25.0"),
  ],
  targets: [
    // The C edge.
    .systemLibrary(name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CExpat", pkgConfig: "expat", providers: [.apt(["libexpat1-dev"])]),
    .systemLibrary(name: "CLibFuse3", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
    .target(name: "CFuse", dependencies: ["CLibFuse3"]),
    .target(name: "CLinux"),
    .target(name: "CChecksum"),

    // The layers, lowest first.
    layer("Basics", ["CLinux", system, deque]),
    layer("Metrics", []),
    layer("ObjectStore", ["Basics"]),
    layer("HTTPTransport", ["Basics", "CCurl", log]),
    layer("S3", ["Basics", "Metrics", "ObjectStore", "HTTPTransport", "CChecksum", "COpenSSL", "CExpat", log]),
    layer("WAYSCloud", ["Basics", "HTTPTransport", log]),
    layer("BlockCache", ["Basics", "ObjectStore", "CChecksum", "CLinux", log, system]),
    layer("ReadPath", ["Basics", "Metrics", "ObjectStore", "BlockCache", log]),
    layer("WritePath", ["Basics", "ObjectStore", "CLinux", log, system]),
    layer("Filesystem", ["Basics", "ObjectStore", "ReadPath", "BlockCache", "WritePath", log, system]),
    layer("AccountTree", ["Basics", "Filesystem", log, system]),
    layer("FuseSession", ["Basics", "Metrics", "Filesystem", "CFuse", log, system]),

    // The composition roots.
    .executableTarget(
      name: "waysfs",
      dependencies: [
        "Basics", "Metrics", "ObjectStore", "HTTPTransport", "S3", "WAYSCloud", "BlockCache", "ReadPath", "WritePath",
        "Filesystem", "AccountTree", "FuseSession", "CLinux", arguments, log, system,
      ], swiftSettings: strict),
    .executableTarget(
      name: "waysfs-sandbox", dependencies: ["Basics", arguments, flyingFox, flyingSocks, system], swiftSettings: strict
    ),
    // For benchmarks; no product, so that nobody gets it who only wants waysfs.
    .executableTarget(
      name: "waysfs-responder", dependencies: ["Basics", "COpenSSL", arguments, system], swiftSettings: strict),

    tests("Basics"),
    tests("Metrics"),
    // The checks that every ObjectStore must pass, shared by the tests of all implementations.
    .target(
      name: "ObjectStoreConformance", dependencies: ["Basics", "ObjectStore"], path: "Tests/ObjectStoreConformance",
      swiftSettings: strict),
    tests("ObjectStore", ["Basics", "ObjectStoreConformance"]),
    tests("HTTPTransport", ["Basics", flyingSocks, system]),
    tests(
      "S3",
      ["Basics", "Metrics", "CChecksum", "ObjectStore", "ObjectStoreConformance", "HTTPTransport", system, log]),
    tests("WAYSCloud", ["Basics", "HTTPTransport", flyingSocks]),
    tests("BlockCache", ["Basics", "ObjectStore", "CChecksum", log, system]),
    tests("ReadPath", ["Basics", "ObjectStore", "BlockCache", log, system]),
    tests("WritePath", ["Basics", "ObjectStore", system, log]),
    tests("Filesystem", ["Basics", "ObjectStore", "ReadPath", "BlockCache", "WritePath", system, log]),
    tests(
      "AccountTree",
      ["Basics", "ObjectStore", "ReadPath", "BlockCache", "WritePath", "Filesystem", system, log]),
    tests("FuseSession", ["Basics", "Metrics", "Filesystem", "CFuse", "CLinux", system, log]),
    .testTarget(
      name: "waysfsTests",
      dependencies: [
        "waysfs", "Basics", "Metrics", "ObjectStore", "S3", "Filesystem", "WritePath", "FuseSession", log, arguments,
        system,
      ],
      swiftSettings: strict),
    .testTarget(
      name: "SandboxTests", dependencies: ["waysfs-sandbox", "HTTPTransport", "WAYSCloud", system],
      swiftSettings: strict),
    .testTarget(name: "ResponderTests", dependencies: ["waysfs-responder"], swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6]
)
