# cmake --install and the Debian package: the controller, completions for three shells, the documentation.
set(completions ${CMAKE_BINARY_DIR}/completions)
add_custom_command(
  OUTPUT ${completions}/inferno.bash ${completions}/_inferno ${completions}/inferno.fish
  COMMAND ${CMAKE_COMMAND} -E make_directory ${completions}
  COMMAND inferno completion bash > ${completions}/inferno.bash
  COMMAND inferno completion zsh > ${completions}/_inferno
  COMMAND inferno completion fish > ${completions}/inferno.fish
  DEPENDS inferno VERBATIM)
add_custom_target(completions ALL DEPENDS ${completions}/inferno.bash ${completions}/_inferno ${completions}/inferno.fish)

include(GNUInstallDirs)
install(TARGETS inferno)
install(FILES ${completions}/inferno.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME inferno)
install(FILES ${completions}/_inferno DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${completions}/inferno.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/inferno)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/inferno)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME inferno)
set(CPACK_PACKAGE_CONTACT "Inferno contributors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Autoscaler for LLM inference on Kubernetes")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS ca-certificates)
include(CPack)
