import Basics
import ObjectStore
import ObjectStoreConformance
import Testing

@Suite struct InMemoryConformanceTests {
  @Test(arguments: ConformanceCheck.all)
  func inMemoryConforms(_ check: ConformanceCheck) throws {
    try check.run(on: InMemoryObjectStore())
  }

  @Test(arguments: ConformanceCheck.all)
  func failingWithoutARuleConforms(_ check: ConformanceCheck) throws {
    try check.run(on: FailingObjectStore(wrapping: InMemoryObjectStore()))
  }
}
