// Package config turns connectors.yaml and REST bodies into flat string maps, and those into each plugin's typed struct.
package config
